"""Lists of tiles: what lines may look like, where files are found, and that a bad line harms no other."""

from __future__ import annotations

import io
import logging
import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from catalogs.errors import ScannerError
from scanner.survey import survey, tile_list
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A flat tile, one in folders as the survey's download tool writes it, one compressed; files are empty."""
    for name in (
        "CFIS.217.292.u.fits",
        "calexp-CFIS_217_292.fits",
        "CFIS.217.292.r.fits",
        "CFIS_LSB.217.292.r.fits",
        "CFIS.217.292.r.weight.fits",
        "218_292/whigs-g/calexp-CFIS_218_292.fits",
        "218_292/r/CFIS_LSB.218.292.r.fits",
        "218_292/ps-i/PS-DR3.218.292.i.fits",
        "CFIS.001.181.r.fits.fz",
        "calexp-CFIS_1_181.fits.fz",
        "WISHES.1.181.z.fits",
    ):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "data"


def parsed(text: str, survey: Survey, root: Path) -> list[Tile]:
    return tile_list.parse(tile_list.clean(io.StringIO(text)), survey, root)


def names(tile: Tile) -> dict[str, str]:
    return {band: path.name for band, path in tile.files.items()}


@pytest.mark.parametrize("line", ["217.292", "217 292", "217   292", "CFIS.217.292", "217_292", "  217.292\t# a note"])
def test_a_tile_may_be_written_in_many_ways(line: str, unions: Survey, root: Path) -> None:
    (tile,) = parsed(line, unions, root)
    assert tile.name == "217.292"
    assert tile.problem is None
    assert names(tile) == {"u": "CFIS.217.292.u.fits", "g": "calexp-CFIS_217_292.fits", "r": "CFIS.217.292.r.fits"}


def test_files_are_found_in_folders(unions: Survey, root: Path) -> None:
    (tile,) = parsed("218.292", unions, root)
    assert {band: str(path.relative_to(root)) for band, path in tile.files.items()} == {
        "g": "218_292/whigs-g/calexp-CFIS_218_292.fits",
        "r": "218_292/r/CFIS_LSB.218.292.r.fits",
        "i": "218_292/ps-i/PS-DR3.218.292.i.fits",
    }


def test_padding_and_compression_differ_by_band(unions: Survey, root: Path) -> None:
    (tile,) = parsed("1.181", unions, root)
    assert tile.name == "001.181"
    assert names(tile) == {
        "g": "calexp-CFIS_1_181.fits.fz",
        "r": "CFIS.001.181.r.fits.fz",
        "z": "WISHES.1.181.z.fits",
    }


@pytest.mark.parametrize("line", ["CFIS_LSB.217.292.r.fits", "{root}/CFIS_LSB.217.292.r.fits"])
def test_the_path_of_one_band_brings_its_siblings(line: str, unions: Survey, root: Path, tmp_path: Path) -> None:
    (tile,) = parsed(line.format(root=root), unions, root)
    assert names(tile) == {"u": "CFIS.217.292.u.fits", "g": "calexp-CFIS_217_292.fits", "r": "CFIS_LSB.217.292.r.fits"}


def test_siblings_are_found_without_a_root(unions: Survey, root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (flat, deep) = parsed(
        f"{root}/CFIS.217.292.u.fits\n{root}/218_292/r/CFIS_LSB.218.292.r.fits\n", unions, tmp_path / "elsewhere"
    )
    assert set(flat.files) == {"u", "g", "r"}
    assert set(deep.files) == {"g", "r", "i"}


@pytest.mark.parametrize("name", ["nowhere", "CFIS.217.292.u.fits", "218_292", "218_292/r"])
def test_a_root_that_cannot_be_read_is_an_error_of_the_list(
    unions: Survey, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nor is a folder in it: its tiles would be without the bands there. The tests' user may read everything."""

    def scandir(folder: str, scandir: Any = os.scandir) -> Any:
        if name.startswith("218") and folder == str(root / name):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ScannerError) as caught:
        parsed("217.292\n218.292\n", unions, root if name == "218_292/r" else root / name)
    assert caught.value.code == "root.unreadable"
    assert f"{root / name} cannot be read" in caught.value.message
    if name == "218_292/r":
        (tile,) = parsed(f"{root}/218_292/r/CFIS_LSB.218.292.r.fits", unions, root / "218_292/ps-i")
        assert tile.problem is not None
        assert tile.problem.code == "root.unreadable"


def test_a_glob_stands_for_its_tiles(unions: Survey, root: Path) -> None:
    found = parsed("*.fits*\n", unions, root)
    assert [tile.name for tile in found] == ["001.181", "217.292"]
    assert names(found[1])["r"] == "CFIS.217.292.r.fits"
    assert [tile.name for tile in parsed(f"{root}/*/*/*.i.fits", unions, Path())] == ["218.292"]


def test_comments_blank_lines_and_windows_line_ends(unions: Survey, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf# tiles\r\n\r\n217.292\r\n  # more\r\n218.292 # last\r\n")
    assert [tile.name for tile in tile_list.read_list(path, unions, root)] == ["217.292", "218.292"]


def test_a_dash_is_standard_input(unions: Survey, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("217.292\n"))
    assert [tile.name for tile in tile_list.read_list("-", unions, root)] == ["217.292"]


def test_duplicates_are_one_tile_and_are_noted(unions: Survey, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = parsed("217.292\n218.292\n217 292\nCFIS.217.292.r.fits\n", unions, root)
    assert [tile.name for tile in found] == ["217.292", "218.292"]
    assert "2 repeated tile(s) taken once: 217.292 (line 3), 217.292 (line 4)" in caplog.text


def test_one_bad_line_leaves_the_others(unions: Survey, root: Path) -> None:
    text = "\n".join(
        [
            "217.292",
            "217.999",
            "219.292",
            "no_such_*.fits",
            "../../etc/passwd",
            "217.292\x1b[2J",
            "nonsense",
            "x" * 5000,
        ]
    )
    good, *bad = parsed(text, unions, root)
    assert good.problem is None
    assert [tile.problem.code for tile in bad if tile.problem] == [
        "tile.off_grid",
        "tile.missing_file",
        *["list.bad_line"] * 5,
    ]
    assert [tile.name for tile in bad] == ["217.999", "219.292", "line-4", "line-5", "line-6", "line-7", "line-8"]
    assert all(tile.problem and tile.problem.hint for tile in bad)


@pytest.mark.parametrize("line", ["217.292\x00", "\x07", "217.292\x85", "a\x1bb", "CFIS.217.292.r.fits\u2028x"])
def test_control_characters_never_reach_a_message_or_a_path(line: str, unions: Survey, root: Path) -> None:
    (tile,) = parsed(line, unions, root)
    assert tile.problem is not None
    assert tile.problem.code == "list.bad_line"
    assert tile.problem.message.isprintable()
    assert not tile.files


WORDS = "217 292 . .. / _ # CFIS calexp-CFIS r fits .fz * ? [ ] ~ http://h/ vos: file:// ?x=1 {tile} % \\ - 1e5 é"
PIECES = st.sampled_from([*WORDS.split(), " ", "\t", "\r", "\x00", "\x1b", "\ud800", "\u2028"])
LINES = st.lists(st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=40)), max_size=8)


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(lines=LINES)
@example(lines=["[", "**/**/**", "217.292/..", "CFIS.217.292.r.fits/..", "217.292 217.293", ".217.292.r.fits"])
def test_whatever_a_list_holds_each_line_is_a_tile_or_says_why_not(
    lines: list[str], unions: Survey, root: Path
) -> None:
    """Names are plain file names, messages can be shown, and a good line after them is what it always is."""
    found = tile_list.parse(tile_list.clean([*lines, "217.292"]), unions, root)
    assert len({tile.name for tile in found}) == len(found)
    good = next(tile for tile in found if tile.name == "217.292")
    assert "r" in good.files or good.problem is not None or good.remote is not None
    for tile in found:
        assert tile.name.isprintable()
        assert Path(tile.name).name == tile.name
        assert not tile.name.startswith((".", "-"))
        if tile.problem is not None:
            assert tile.problem.code.partition(".")[0] in ("tile", "list", "remote")
            assert tile.problem.message.isprintable()
        else:
            assert tile.files or tile.remote is not None


def test_no_name_can_lead_out_of_the_catalogue(tmp_path: Path) -> None:
    """Whatever a survey file lets its fields be, the name of a tile is a plain file name."""
    path = tmp_path / "wild.toml"
    path.write_text(
        'name = "wild"\npixel_scale = 1\ndetection = "r"\ntile = "{any}"\nfields = { any = ".*" }\n'
        '[bands.r]\nfiles = "{any}.fits"\nhdu = 0\nzero_point = 30\n'
    )
    for text in ("../../evil", "/etc/passwd", ".hidden", "a/b", "CON:", "-rf"):
        tile = tile_list.find(survey.load(path), text, tmp_path)
        assert tile.problem is not None
        assert "/" not in tile.name
        assert not tile.name.startswith((".", "-"))


def test_a_named_file_that_is_not_there_is_that_tile_s_failure(unions: Survey, root: Path) -> None:
    gone, good = parsed("CFIS.217.293.r.fits\n218.292\n", unions, root)
    assert gone.name == "217.293"
    assert gone.problem is not None
    assert gone.problem.code == "tile.missing_file"
    assert "CFIS.217.293.r.fits" in gone.problem.message
    assert good.problem is None


def test_very_long_paths_are_missing_files(unions: Survey, root: Path) -> None:
    (tile,) = parsed("d" * 300 + "/CFIS.217.292.r.fits", unions, root)
    assert tile.problem is not None
    assert tile.problem.code == "tile.missing_file"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_an_empty_list_is_an_error(text: str, unions: Survey, root: Path) -> None:
    with pytest.raises(ScannerError) as caught:
        parsed(text, unions, root)
    assert caught.value.code == "list.empty"


def test_a_list_that_cannot_be_read(unions: Survey, tmp_path: Path) -> None:
    with pytest.raises(ScannerError) as caught:
        tile_list.read_list(tmp_path / "none.txt", unions)
    assert caught.value.code == "list.missing"
    (tmp_path / "image.fits").write_bytes(bytes(range(256)))
    for wrong in (tmp_path / "image.fits", tmp_path):
        with pytest.raises(ScannerError) as caught:
            tile_list.read_list(wrong, unions)
        assert caught.value.code == "list.unreadable"


def test_bricks_and_patches_by_the_same_code(tmp_path: Path) -> None:
    brick = tmp_path / "coadd" / "123" / "1238p245" / "legacysurvey-1238p245-image-z.fits.fz"
    patch = tmp_path / "deepCoadd-results" / "HSC-R2" / "9813" / "3,4" / "calexp-HSC-R2-9813-3,4.fits"
    for path in (brick, patch):
        path.parent.mkdir(parents=True)
        path.touch()
    assert tile_list.find(survey.load("legacysurvey"), "1238p245", tmp_path).files == {"z": brick}
    assert tile_list.find(survey.load("hsc"), "9813-3,4", tmp_path).files == {"r": patch}


def test_a_long_list_is_quick(unions: Survey, root: Path) -> None:
    lines = "".join(f"{x:03d}.{y:03d}\n" for x in range(100) for y in range(220, 250))
    assert len(parsed(lines, unions, root)) == 3000


BRACKETS = ("dr[1]", "a*b", "what?", "[", "]x[", "dr[!0-9]")


@pytest.mark.parametrize("name", BRACKETS)
def test_a_path_that_exists_is_that_file_whatever_a_glob_would_match(name: str, unions: Survey, tmp_path: Path) -> None:
    # Each of these is matched by one of the names above, read as a glob.
    for folder in (name, "dr1", "ab", "aXb", "whatX", "x", "drX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "CFIS.217.292.r.fits").touch()
    path = tmp_path / name / "CFIS.217.292.r.fits"
    for line, root in ((str(path), Path()), (f"{name}/{path.name}", tmp_path), (path.name, tmp_path / name)):
        (tile,) = parsed(line, unions, root)
        assert tile.files == {"r": path}, line
    # Of a path with a glob at its end the folders that exist are folders.
    for line, root in ((f"{tmp_path}/{name}/*.fits", Path()), (f"{name}/CFIS*", tmp_path), ("CFIS*", tmp_path / name)):
        (tile,) = parsed(line, unions, root)
        assert tile.files == {"r": path}, line
    assert tile_list.find(unions, "217.292", tmp_path / name).files == {"r": path}


def test_a_folder_in_brackets_that_does_not_exist_is_a_glob(unions: Survey, tmp_path: Path) -> None:
    (tmp_path / "dr1").mkdir()
    (tmp_path / "dr1" / "CFIS.217.292.r.fits").touch()
    (tile,) = parsed("dr[12]/CFIS.217.292.r.fits", unions, tmp_path)
    assert tile.files == {"r": tmp_path / "dr1" / "CFIS.217.292.r.fits"}


def unreadable(source: Path | str, survey: Survey) -> str:
    with pytest.raises(ScannerError) as caught:
        tile_list.read_list(source, survey)
    assert caught.value.code == "list.unreadable"
    assert "UTF-8" in caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
def test_a_device_is_not_read_for_ever(device: str, unions: Survey) -> None:
    tracemalloc.start()
    unreadable(device, unions)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_line_without_an_end_is_refused_and_a_long_one_is_a_bad_line(unions: Survey, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("217.292\n" + "x" * 2_000_000, encoding="utf-8")
    assert "line 2 " in unreadable(path, unions)
    path.write_text("x" * 500_000 + "\n217.292\n", encoding="utf-8")
    long, good = tile_list.read_lines(path)
    assert (len(long.text), long.complaint, good.text) == (4096, "is longer than 4096 characters", "217.292")


def test_lines_without_an_end_are_refused(unions: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_list, "_ENDLESS", 100)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n" * 601)))
    assert "one too many" in unreadable("-", unions)


@pytest.mark.parametrize(
    "content", ["217.292\n# d\xe9j\xe0 vu\n".encode("latin-1"), "217.292\n".encode("utf-16"), b"SIMPLE  =\xff"]
)
def test_other_encodings_are_refused(content: bytes, unions: Survey, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    assert "is not UTF-8" in unreadable(path, unions)


def test_a_list_in_two_bytes_a_letter_has_no_good_line(unions: Survey, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("217.292\n".encode("utf-16-le"))
    assert [tile.problem.code for tile in tile_list.read_list(path, unions) if tile.problem] == ["list.bad_line"] * 2


def test_a_pipe_is_read_to_its_end(unions: Survey, root: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("217.292\n", encoding="utf-8"))
    writer.start()
    assert [tile.name for tile in tile_list.read_list(tmp_path / "pipe", unions, root)] == ["217.292"]
    writer.join()


def test_standard_input_is_utf8_in_every_locale(unions: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO("\ufeffdonnées/CFIS.217.292.r.fits\n".encode()), "ascii", "surrogateescape")
    monkeypatch.setattr("sys.stdin", stdin)
    assert [line.text for line in tile_list.read_lines("-")] == ["données/CFIS.217.292.r.fits"]
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ScannerError) as caught:
        tile_list.read_list("-", unions)
    assert caught.value.code == "list.empty"
