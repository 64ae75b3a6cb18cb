"""One table in every format, packing and dialect, its masks and units; and files that lie, are cut short or damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import resource
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from pyarrow import parquet

from catalogs.errors import ErrorCode, ScannerError
from scanner.scan.options import ScanOptions
from scanner.sources.position_files import PositionTable, read_positions

RA, DEC = np.array([210.0, 209.5, 359.75]), np.array([56.0, -5.25, 0.5])
LABELS = np.array(["lens", "", "a b"])
FPACKED = Path(__file__).with_name("fpacked.fits.fz")
"""By fpack 1.7.0 of CFITSIO 4.2.0: 700 rows in parts of 300, float64 by GZIP_2, texts by GZIP_1."""


def table(**units_of: str) -> Table:
    """RA and Dec in these units, and labels."""
    degrees = {"ra": RA, "dec": DEC}
    columns = {name: (values * units.deg).to(units_of.get(name, "deg")) for name, values in degrees.items()}
    return QTable({**columns, "label": LABELS})


def text(separator: str = ",", decimal: str = ".", end: str = "\n") -> str:
    rows = [("ra", "dec", "label"), *zip(map(str, RA), map(str, DEC), LABELS, strict=True)]
    return "".join(separator.join(cell.replace(".", decimal) for cell in row) + end for row in rows)


ALIGNED = "210 56\n# 1 2\n209.5   -5.25\n  359.75\t0.5\n"

TEXTS: dict[str, str | bytes] = {
    "plain.csv": text(),
    "byte_order_mark.csv": "\ufeff" + text(),
    "semicolons.csv": text(";"),
    "tabs.tsv": text("\t"),
    "bars.txt": text("|"),
    "windows.csv": text(end="\r\n"),
    "old_mac.csv": text(end="\r"),
    "decimal_commas.csv": text(";", ","),
    "excel.csv": "\ufeffsep=;\r\n" + text(";", ",", "\r\n"),
    "casjobs.csv": "#Table1\n" + text(),
    "quoted.csv": '"ra","dec","na,me"\n"210.0","56.0","1,2"\n209.5,-5.25,"x ""y"""\n359.75,0.5,\n',
    "blank_rows.csv": "\n" + text().replace("\n", "\n\n", 1) + ",,\n  \n",
    "latin.csv": text().replace("a b", "M\xfcller").encode("latin-1"),
    "commented_names.txt": "# about\n# ra dec\n" + ALIGNED,
    "commented_names.csv": "#" + text(),
    "aligned.dat": "  ra   dec\n" + ALIGNED,
    "units_in_names.csv": "RA [hours],Dec (arcmin)\n14,3360\n13.9666666666666667,-315\n23.98333333333333,30\n",
    "vizier.tsv": "#\n#Title\n_RAJ2000\t_DEJ2000\tName\ndeg\tdeg\t\n-----\t----\t----\n" + text("\t").split("\n", 1)[1],
    "minus_signs.csv": text().replace("-", "\N{MINUS SIGN}"),
    "below_zero.csv": text().replace("359.75", "-0.25"),
    "one_more_turn.csv": text().replace("359.75", "719.75"),
    "colons.csv": "ra,dec\n14:00:00,+56:00:00\n13:58:00.0,-05:15:00\n23:59:00,00:30:00\n",
    "letters.csv": "ra,dec\n14h00m00s,+56d00m00s\n13h58m0.0s,-5d15m0s\n23h59m00s,0d30m0s\n",
    "blanks.csv": "RAJ2000,DEJ2000\n14 00 00,+56 00 00\n13 58 00.0,-05 15 00\n23 59 00,+00 30 00\n",
    "b1950.csv": "RAB1950,DEB1950\n209.5652299,56.2415546\n208.8471291,-5.0069103\n359.1093352,0.2216029\n",
    "head.cat": "#   1 NUMBER  [x]\n#   2 VIGNET [count]\n#   5 ALPHA_SKY  RA [deg]\n#   6 DELTA_SKY  Dec [deg]\n"
    + "".join(f"{n} 0 0 0 {ra} {dec}\n" for n, (ra, dec) in enumerate(zip(RA, DEC, strict=True))),
}


def check(read: PositionTable, atol: float = 1e-9) -> None:
    assert read.on_sky
    np.testing.assert_allclose(read.first, RA, atol=atol)
    np.testing.assert_allclose(read.second, DEC, atol=atol)


@pytest.mark.parametrize("name", list(TEXTS))
def test_text_is_read_as_people_mean_it(name: str, tmp_path: Path) -> None:
    content = TEXTS[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    check(read_positions(tmp_path / name), atol=1e-6 if "b1950" in name else 1e-9)


HOURS = pa.schema([pa.field("ra", pa.float64(), metadata={"unit": "hourangle"}), pa.field("dec", pa.float64())])

WRITERS: dict[str, Callable[[Path], object]] = {
    "hours.ecsv": lambda path: table(ra="hourangle").write(path),
    "commas.ecsv": lambda path: table(dec="arcmin").write(path, delimiter=","),
    "radians.parquet": lambda path: table(ra="rad", dec="rad").write(path),
    "votable.parquet": lambda path: table(ra="rad", dec="arcmin").write(
        path,
        format="parquet.votable",
        metadata={name: {"unit": unit} for name, unit in (("ra", "rad"), ("dec", "arcmin"), ("label", ""))},
    ),
    "fields.parquet": lambda path: parquet.write_table(pa.table([RA / 15, DEC], schema=HOURS), path),
    "decimals.parquet": lambda path: parquet.write_table(
        pa.table({"ra": [Decimal("210"), Decimal("209.5"), Decimal("359.75")], "dec": DEC}), path
    ),
    "dictionary.parquet": lambda path: parquet.write_table(
        pa.table(
            {
                "ra": pa.array(["14:00:00", "13:58:00", "23:59:00"]).dictionary_encode(),
                "dec": ["+56:00:00", "-5:15:00", "0:30:00"],
            }
        ),
        path,
    ),
    "radians.fits": lambda path: table(ra="rad", dec="arcsec").write(path),
    "hours.vot": lambda path: table(ra="hourangle").write(path, format="votable"),
    "binary.vot": lambda path: table().write(path, format="votable", tabledata_format="binary"),
    "binary2.xml": lambda path: table(dec="rad").write(path, format="votable", tabledata_format="binary2"),
    "ascii.fits": lambda path: fits.TableHDU.from_columns(
        [fits.Column("RA", "F12.6", array=RA), fits.Column("DEC", "F12.6", unit="deg", array=DEC)]
    ).writeto(path),
    "one_a_row.fits": lambda path: fits.BinTableHDU.from_columns(
        [fits.Column("RA", "1D", dim="(1)", array=RA), fits.Column("DEC", "D", array=DEC)]
    ).writeto(path),
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_units_are_converted_in_every_format(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    check(read_positions(tmp_path / name))


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
@pytest.mark.parametrize("name", ["a.csv", "a.ecsv", "a.fits", "a.vot", "a.parquet"])
def test_packed_files_are_unpacked(name: str, ending: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    table().write(tmp_path / name, **({"format": "votable"} if name == "a.vot" else {}))
    packed = tmp_path / f"{name}.{ending}"
    packed.write_bytes(pack((tmp_path / name).read_bytes()))
    check(read_positions(packed))


def test_a_table_that_fpack_compressed() -> None:
    read = read_positions(FPACKED, "label")
    number = np.arange(700)
    np.testing.assert_allclose(read.first, 210 + number % 30 * 1e-3, atol=1e-9)
    np.testing.assert_allclose(read.second, 56 - number // 30 * 1e-3, atol=1e-9)
    assert read.words[:4].tolist() == ["lens", "star", "star", "lens"]


def test_a_compressed_table_whose_parts_have_other_sizes_is_refused(tmp_path: Path) -> None:
    content = FPACKED.read_bytes()
    for card, other in (
        (b"ZTILELEN=                  300", b"ZTILELEN=                  299"),
        (b"'GZIP_2", b"'RICE_1"),
    ):
        assert content.count(card)
        (tmp_path / "a.fits").write_bytes(content.replace(card, other))
        with pytest.raises(ScannerError) as caught:
            read_positions(tmp_path / "a.fits")
        assert caught.value.code == ErrorCode.SOURCES_UNREADABLE


@pytest.mark.parametrize("name", ["a.csv", "a.ecsv", "a.fits", "a.vot", "a.parquet"])
def test_masked_positions_are_not_numbers_and_words_keep_their_rows(name: str, tmp_path: Path) -> None:
    masked = Table({"RA": MaskedColumn(RA, mask=[False, True, False]), "DEC": DEC, "Label": LABELS, "n": [1, 2, 3]})
    masked.write(tmp_path / name, **({"format": "votable"} if name == "a.vot" else {}))
    read = read_positions(tmp_path / name, "LABEL")
    np.testing.assert_array_equal(read.first, [210, np.nan, 359.75])
    np.testing.assert_array_equal(read.is_number, [True, False, True])
    assert read.words.tolist() == LABELS.tolist()
    assert read_positions(tmp_path / name, "n").words.tolist() == ["1", "2", "3"]


def test_scaled_integers_that_stand_for_nothing_are_not_numbers(tmp_path: Path) -> None:
    columns = [fits.Column("RA", "J", array=[20, -9, 30]), fits.Column("DEC", "D", array=DEC)]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header["TSCAL1"], hdu.header["TZERO1"], hdu.header["TNULL1"] = 0.5, 100.0, -9
    hdu.writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_positions(tmp_path / "a.fits").first, [110, np.nan, 115])


def test_integers_that_stand_for_nothing_are_not_numbers(tmp_path: Path) -> None:
    columns = [fits.Column("RA", "J", null=-99, array=[1, -99, 3]), fits.Column("DEC", "D", array=DEC)]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "a.fits")
    parquet.write_table(pa.table({"ra": pa.array([1, None, 3]), "dec": DEC}), tmp_path / "a.parquet")
    for name in ("a.fits", "a.parquet"):
        np.testing.assert_array_equal(read_positions(tmp_path / name).first, [1, np.nan, 3])


VOTABLE = (
    '<?xml version="1.0"?>{}<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE{}>'
    '<FIELD name="ra" datatype="double"/><FIELD name="dec" datatype="double"/>{}<DATA>{}</DATA>'
    "</TABLE></RESOURCE></VOTABLE>"
)
VECTOR = '<FIELD name="v" datatype="double" arraysize="60000"/>'
ROWS = "<TABLEDATA><TR><TD>210</TD><TD>56</TD></TR></TABLEDATA>"
ECSV = (
    "# %ECSV 1.0\n# ---\n# datatype:\n# - {{name: ra, datatype: float64}}\n# - {{name: dec, datatype: float64}}\n"
    "{}ra dec\n1 2\n"
)


@pytest.mark.parametrize("element", ["BINARY", "BINARY2", "FITS", 'PARQUET type="VOTable-remote-file"'])
@pytest.mark.parametrize("address", ["file:///dev/zero", "http://127.0.0.1:9/a", "secret.csv"])
def test_no_table_may_name_what_is_read(element: str, address: str, tmp_path: Path) -> None:
    name = element.split()[0]
    link = f'<{element}><STREAM href="{address}" encoding="base64"/></{name}>'
    (tmp_path / "a.vot").write_text(VOTABLE.format("", "", "", link))
    with pytest.raises(ScannerError, match=r"STREAM names data elsewhere|in the element (FITS|PARQUET)") as caught:
        read_positions(tmp_path / "a.vot")
    assert caught.value.code == ErrorCode.SOURCES_UNREADABLE


LIES: dict[str, tuple[str | bytes, str]] = {
    "entity.vot": (
        VOTABLE.format('<!DOCTYPE V [<!ENTITY x SYSTEM "file:///etc/hostname">]>', "", "", ROWS),
        "entity x",
    ),
    "rows.vot": (VOTABLE.format("", ' nrows="99999999999"', "", ROWS), "99999999999 rows"),
    "cell.vot": (VOTABLE.format("", "", '<FIELD name="big" datatype="char" arraysize="99999999"/>', ROWS), "big"),
    "param.vot": (VOTABLE.format("", "", '<PARAM name="p" datatype="int" arraysize="99999999" value=""/>', ROWS), "p"),
    "cells.vot": (VOTABLE.format("", "", VECTOR, f"<TABLEDATA>{'<TR><TD/><TD/><TD/></TR>' * 2000}"), "take more than"),
    "empty_rows.vot": (VOTABLE.format("", "", "", f"<TABLEDATA>{'<TR/>' * 99}</TABLEDATA>"), "fewer columns"),
    "column.cat": ("# 1 NUMBER\n# 999999999 X_IMAGE\n# 3 Y_IMAGE\n1 2 3\n", "no column 999999999, which is X_IMAGE"),
    "line.csv": ("ra,dec\n" + "1" * (3 << 20), "line of more than"),
    "cell.csv": ('ra,dec\n"' + "1\n" * (1 << 20), "field larger than"),
    "quote.csv": ('ra,dec\n1,"2\n', "line 2"),
    "row.csv": ("ra,dec\n1,2\n1,2,3\n", "line 3 has 3 columns"),
    "no_names.csv": ("210.5,56.1\n211,57\n", "no line of column names"),
    "wide.csv": (("\ufeff" + text()).encode("utf-16-le"), "UTF-16"),
    "header.ecsv": (ECSV.format("# x: y\n" * 200_000), "header is longer"),
    "deep.ecsv": (ECSV.format("# x: " + "[" * 20_000 + "\n"), "recursion"),
    "other_names.ecsv": (ECSV.format("").replace("ra dec\n", "dec ra\n"), "other columns"),
    "archive.xlsx": (b"PK\x03\x04" + bytes(99), "save the table as CSV"),
    "bomb.csv.gz": (gzip.compress(b"ra,dec\n" + bytes(600 << 20), 1), "unpacks to more than"),
}


@pytest.mark.parametrize("name", list(LIES))
def test_lies_are_refused_before_they_cost_memory(name: str, tmp_path: Path) -> None:
    content, why = LIES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ScannerError, match=re.escape(why)) as caught:
        read_positions(tmp_path / name)
    assert caught.value.code == ErrorCode.SOURCES_UNREADABLE
    assert name in caught.value.message
    assert caught.value.hint
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_300_000  # kB


def test_aliases_of_a_yaml_header_are_not_expanded(tmp_path: Path) -> None:
    """Twenty lists of nine aliases each, one of the other, and merged mappings of these."""
    aliases = [", ".join([f"*{letter}"] * 9) for letter in "abcdefghijklmnopqrst"]
    lists = "# a: &a [x, x]\n" + "".join(
        f"# {name}: &{name} [{some}]\n" for name, some in zip("bcdefghijklmnopqrstu", aliases, strict=True)
    )
    maps = lists.upper().replace("[X, X]", "{q: 1}").replace("[", "{<<: [").replace("]", "]}")
    (tmp_path / "a.ecsv").write_text(ECSV.format(lists + maps))
    assert read_positions(tmp_path / "a.ecsv").first.tolist() == [1]


def card(content: bytes, key: str, value: str) -> bytes:
    """A FITS table with another value of a card of its second header."""
    at = content.index(f"{key:8}= ".encode(), 2880)
    return content[:at] + f"{key:8}= {value:>20}".ljust(80).encode() + content[at + 80 :]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NAXIS2", "999999999999"),
        ("NAXIS1", "99999999"),
        ("NAXIS2", "1.5"),
        ("NAXIS2", "'text'"),
        ("NAXIS2", "-5"),
        ("TFIELDS", "999999"),
        ("TFIELDS", "999"),
        ("TFORM1", "'99999999D'"),
        ("TFORM1", "'0D'"),
        ("TFORM1", "'PD(3)'"),
        ("TFORM1", "'?'"),
        ("TDIM1", "'(0)'"),
    ],
)
def test_fits_headers_that_lie_are_refused(key: str, value: str, tmp_path: Path) -> None:
    columns = [fits.Column("RA", "D", dim="(1)", array=RA), fits.Column("DEC", "D", array=DEC)]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "good.fits")
    (tmp_path / "a.fits").write_bytes(card((tmp_path / "good.fits").read_bytes(), key, value))
    with pytest.raises(ScannerError) as caught:
        read_positions(tmp_path / "a.fits")
    assert caught.value.code in (ErrorCode.SOURCES_UNREADABLE, ErrorCode.SOURCES_NO_POSITIONS)


@pytest.mark.parametrize("size", [2880 + 1000, 2 * 2880 + 100, 3 * 2880 + 500, 5 * 2880 + 10])
def test_fits_files_that_are_cut_within_a_table_are_refused(size: int, tmp_path: Path) -> None:
    """Also within the second of two, whose rows would be lost."""
    many = Table({"RA": np.tile(RA, 80), "DEC": np.tile(DEC, 80)})
    hdus = [fits.PrimaryHDU(), *(fits.BinTableHDU(many, name="LDAC_OBJECTS") for _ in range(2))]
    fits.HDUList(hdus).writeto(tmp_path / "whole.fits")
    (tmp_path / "a.fits").write_bytes((tmp_path / "whole.fits").read_bytes()[:size])
    with pytest.raises(ScannerError) as caught:
        read_positions(tmp_path / "a.fits")
    assert caught.value.code == ErrorCode.SOURCES_UNREADABLE


def test_sums_of_a_table_are_verified(tmp_path: Path) -> None:
    hdu = fits.BinTableHDU(Table({"RA": RA, "DEC": DEC}))
    hdu.writeto(tmp_path / "a.fits", checksum=True)
    check(read_positions(tmp_path / "a.fits"))
    content = bytearray((tmp_path / "a.fits").read_bytes())
    content[2 * 2880] ^= 1  # the first of its data
    (tmp_path / "a.fits").write_bytes(content)
    with pytest.raises(ScannerError, match=r"DATASUM is .* damaged") as caught:
        read_positions(tmp_path / "a.fits")
    assert caught.value.code == ErrorCode.SOURCES_UNREADABLE


def test_headers_of_endless_cards_are_refused(tmp_path: Path) -> None:
    fits.BinTableHDU(Table({"RA": RA, "DEC": DEC})).writeto(tmp_path / "good.fits")
    content = (tmp_path / "good.fits").read_bytes()
    for start in (0, 2880):
        end = content.index(b"END" + b" " * 77, start)
        cards = b"CONTINUE  'x&'".ljust(80) * 36 * 2000
        (tmp_path / "a.fits").write_bytes(content[:end] + cards + content[end:])
        with pytest.raises(ScannerError, match=r"more than \d+ cards"):
            read_positions(tmp_path / "a.fits")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    for name in ("fifo.csv", "device.csv", "folder.csv"):
        with pytest.raises(ScannerError, match="not a regular file") as caught:
            read_positions(tmp_path / name)
        assert caught.value.code == ErrorCode.SOURCES_MISSING
        # Only the tables of a scan have a name for each tile.
        assert "{tile}" not in caught.value.hint
        assert ".csv" in caught.value.hint
        with pytest.raises(ScannerError, match="not a regular file") as caught:
            ScanOptions(sources=str(tmp_path / name)).settings()
        assert "{tile}" in caught.value.hint


def test_no_damaged_file_brings_anything_but_an_error_with_a_code(tmp_path: Path) -> None:
    """Files of each format, cut short, with bits flipped, bytes replaced or digits changed, by seed."""
    random = np.random.default_rng(14)
    for name in ("a.csv", "a.ecsv", "a.fits", "a.vot", "a.parquet"):
        table(ra="rad").write(tmp_path / name, **({"format": "votable"} if name == "a.vot" else {}))
    table().write(tmp_path / "b.vot", format="votable", tabledata_format="binary2")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(text().encode()))
    (tmp_path / "d.fits.fz").write_bytes(FPACKED.read_bytes())
    (tmp_path / "e.cat").write_text(str(TEXTS["head.cat"]))
    outcomes = set()
    for path in sorted(tmp_path.iterdir()):
        for _ in range(15):
            content = bytearray(path.read_bytes())
            at = int(random.integers(len(content)))
            match random.integers(4):
                case 0:
                    content = content[:at]
                case 1:
                    content[at] ^= 1 << int(random.integers(8))
                case 2:
                    content[at : at + 20] = random.bytes(int(random.integers(40)))
                case _:
                    digits = [place for place, byte in enumerate(content[:9000]) if 48 <= byte <= 57]
                    content[int(random.choice(digits or [0]))] = int(random.integers(48, 58))
            mutant = tmp_path / f"mutant{''.join(path.suffixes)}"
            mutant.write_bytes(content)
            try:
                read_positions(mutant, "label" if random.random() < 0.3 else None)
                outcomes.add("read")
            except ScannerError as error:
                outcomes.add(error.code)
            mutant.unlink()
    assert {"read", ErrorCode.SOURCES_UNREADABLE} <= outcomes
    assert all(one == "read" or one.startswith("sources.") for one in outcomes)
