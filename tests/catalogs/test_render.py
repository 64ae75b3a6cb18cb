"""Every format is read back by the reader people would use, with values and units."""

from __future__ import annotations

import csv
import io
import json
import math
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from catalogs.errors import ScannerError
from catalogs.render import FORMATS, render


@pytest.fixture
def found(survey):
    table = survey.neighbours(vector=np.ones(16), k=5, columns=[*survey.schema.names])
    table["mag_u"][2] = np.nan
    return table


def same(read, found, names):
    for name in names:
        expected, values = np.asarray(found[name]), read[name]
        values = values.filled(np.nan) if hasattr(values, "filled") and expected.dtype.kind == "f" else values
        if expected.dtype.kind == "f":
            assert np.array_equal(np.asarray(values, expected.dtype), expected, equal_nan=True), name
        else:
            assert [str(value) for value in values] == [str(value) for value in expected], name


@pytest.mark.parametrize(("fmt", "reader"), [("fits", "fits"), ("votable", "votable"), ("ecsv", "ascii.ecsv")])
def test_formats_with_units_come_back_whole(found, fmt, reader):
    written = render(found, fmt)
    content = written if isinstance(written, bytes) else written.encode()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = Table.read(io.BytesIO(content), format=reader)
    assert read.colnames == found.colnames
    same(read, found, [name for name in found.colnames if name != "embedding"])
    assert np.array_equal(np.asarray(read["embedding"]), found["embedding"])
    for name in ("ra", "dec", "flux_g", "mag_r", "a", "x"):
        assert read[name].unit == found[name].unit, name


def test_votable_has_ucds_and_passes_the_strict_reader(found):
    from astropy.io.votable import parse

    written = render(found, "votable")
    votable = parse(io.BytesIO(written.encode()), verify="exception")
    (system,) = votable.resources[0].coordinate_systems
    assert (system.ID, system.system) == ("icrs", "ICRS")
    fields = {field.name: field for field in votable.get_first_table().fields}
    assert [fields[name].ref for name in ("ra", "dec", "mag_auto")] == ["icrs", "icrs", None]
    assert fields["ra"].ucd == "pos.eq.ra;meta.main"
    assert fields["flux_g"].ucd == "phot.flux;em.opt.B"
    assert fields["dec"].description == "Declination, ICRS"


def test_a_bool_is_a_boolean_in_a_votable_with_or_without_vectors(found):
    """STILTS takes "bit", which astropy would write, for an array, and reads nothing at all."""
    from astropy.io.votable import parse

    for table in (found, found["object_id", "is_primary"]):
        written = render(table, "votable")
        votable = parse(io.BytesIO(written.encode()), verify="exception").get_first_table()
        field = next(field for field in votable.fields if field.name == "is_primary")
        assert (field.datatype, field.ucd) == ("boolean", "meta.code")
        assert field.description
        assert votable.to_table()["is_primary"].tolist() == found["is_primary"].tolist()


def test_fits_has_ucds_and_descriptions_where_topcat_looks(found):
    from astropy.io import fits

    with fits.open(io.BytesIO(render(found, "fits"))) as hdus:
        header = hdus[1].header
        place = found.colnames.index("ra") + 1
    assert header[f"TUCD{place}"] == "pos.eq.ra;meta.main"
    assert header[f"TCOMM{place}"] == "Right ascension, ICRS"


def test_json_is_a_list_of_records_without_nan(found):
    records = json.loads(render(found, "json"), parse_constant=lambda name: pytest.fail(name))
    assert len(records) == 5
    assert records[2]["mag_u"] is None
    assert records[0]["object_id"] == int(found["object_id"][0])
    assert records[0]["ra"] == float(found["ra"][0])
    assert np.float32(records[0]["similarity"]) == found["similarity"][0]
    assert len(records[0]["embedding"]) == 16
    assert records[0]["is_primary"] is True


def test_csv_is_plain_and_keeps_every_digit_that_counts(found):
    rows = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    assert "embedding" not in rows[0]
    assert [np.float32(row["mag_r"]) for row in rows] == list(found["mag_r"])
    assert [float(row["ra"]) for row in rows] == list(found["ra"])
    assert math.isnan(float(rows[2]["mag_u"]))
    assert max(len(row["mag_r"]) for row in rows) <= 12


def test_the_human_table_is_narrow_and_has_units(found):
    text = render(found, "table")
    header, units = text.splitlines()[:2]
    assert header.split()[:3] == ["rank", "similarity", "object_id"]
    assert units.split()[:2] == ["deg", "deg"]
    assert max(map(len, text.splitlines())) <= 120
    assert len(text.splitlines()) == 3 + 5


def test_a_region_file_marks_every_object(found):
    lines = render(found, "ds9").splitlines()
    assert lines[0].startswith("# Region file format: DS9")
    assert lines[2] == "icrs"
    assert len(lines) == 3 + 5
    ra, dec, radius = lines[3].split("(")[1].split(")")[0].split(",")
    assert float(ra) == pytest.approx(found["ra"][0], abs=1e-7)
    assert float(dec) == pytest.approx(found["dec"][0], abs=1e-7)
    assert radius == '2.0"'


@pytest.mark.parametrize("fmt", FORMATS)
def test_answers_without_rows_are_answers(survey, fmt):
    empty = survey.cone(90.0, -60.0, 10)
    written = render(empty, fmt)
    if fmt == "json":
        assert json.loads(written) == []
    if fmt in ("fits", "votable", "ecsv"):
        content = written if isinstance(written, bytes) else written.encode()
        assert len(Table.read(io.BytesIO(content), format={"ecsv": "ascii.ecsv"}.get(fmt, fmt))) == 0


def test_rendering_changes_nothing(found):
    before = found.copy()
    for fmt in FORMATS:
        render(found, fmt)
    assert found.meta == before.meta
    assert found["ra"].format is None
    assert np.array_equal(found["mag_r"], before["mag_r"])


def test_an_unknown_format_lists_what_there_is(found):
    with pytest.raises(ScannerError) as refused:
        render(found, "excel")
    assert refused.value.code == "format.unknown"
    assert "votable" in refused.value.hint


NAMES = (
    "é ö ß 漢",
    'quote " in',
    "comma, x",
    "new\nline",
    "cr\rx",
    " lead",
    "{brace}",
    "<xml>&",
    "ctrl\x01",
    "\udcff",
    "\u2028",
)


def named(name: str) -> Table:
    table = Table({"name": [name, "plain"], "ra": [1.0, 2.0], "dec": [3.0, 4.0]})
    table["name"].description = "Größe"
    return table


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_any_text_can_be_written_on_one_line(fmt, name):
    table = named(name)
    written = render(table, fmt)
    assert table["name"][0] == name, "the table of the caller"
    content = written if isinstance(written, bytes) else written.encode()
    # A control character is an escape, in FITS a letter beyond ASCII too; JSON has escapes of its own.
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name).replace("udc", "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if fmt == "fits":
            escape = line.encode("ascii", "backslashreplace").decode()
            read = Table.read(io.BytesIO(content), format="fits")
            assert (str(read["name"][0]), str(read["name"][1])) == (escape, "plain")
            assert fits.getheader(io.BytesIO(content), 1)["TCOMM1"] == r"Gr\xf6\xdfe"
        elif fmt in ("votable", "ecsv"):
            read = Table.read(io.BytesIO(content), format=fmt.replace("ecsv", "ascii.ecsv"))
            assert (str(read["name"][0]), str(read["name"][1])) == (line.strip(), "plain")
        elif fmt == "csv":
            rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
            assert [row["name"] for row in rows] == [line, "plain"]
        elif fmt == "json":
            assert [row["name"] for row in json.loads(content)] == [name.replace("\udcff", r"\xff"), "plain"]
        else:
            lines = content.decode().split("\n")
            assert len(lines) == 6
            assert (line.replace("{", "(").replace("}", ")") if fmt == "ds9" else line.strip()) in lines[3]


@pytest.mark.parametrize("fmt", ["csv", "json", "fits"])
def test_a_file_name_reads_alike_in_every_locale(fmt):
    """Where the locale is not UTF-8, Python keeps the bytes of a name."""
    kept = "béta.csv".encode().decode("ascii", "surrogateescape")
    assert render(named(kept), fmt) == render(named("béta.csv"), fmt)


def test_the_letters_of_a_fits_table_can_be_restored():
    read = Table.read(io.BytesIO(render(named("Böhringer 漢"), "fits")), format="fits")
    assert read["name"][0].encode().decode("unicode_escape") == "Böhringer 漢"
