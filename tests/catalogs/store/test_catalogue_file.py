"""``catalogue.json`` as disks, editors and later versions leave it: refused by name, with a code."""

from __future__ import annotations

import json
import os
import sys

import pytest

import catalogs
from catalogs.errors import ScannerError

DEEP = "[" * 200_000


def refusal(path) -> ScannerError:
    with pytest.raises(ScannerError) as refused:
        catalogs.open(path)
    assert refused.value.hint
    return refused.value


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "null", "5", DEEP, "NaN", b"\xff\xfe\x00", b"\x00" * 100])
def test_a_file_that_is_no_description_is_damaged(survey, content):
    path = survey.path / "catalogue.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = refusal(survey.path)
    assert (error.code, str(path) in error.message) == ("catalogue.damaged", True)


EDITS = {
    "bands": [5, "ugr", [], [1], [["u"]], ["../u", "g"], ["u", "u"], ["u", ""], None, {}],
    "contract": [
        {},
        None,
        [],
        *[{"embedding_dim": dim} for dim in (0, -1, "x", 1.5, None, 10**12, 2**31, float("inf"), [], True)],
        *[{"embedding_dim": 16, key: value} for key, value in (("bands", 5), ("bands", [1]), ("window", "64"))],
        *[{"embedding_dim": 16, "pixel_scale": scale} for scale in (None, float("nan"), float("inf"), -0.2)],
        {"embedding_dim": 16, "precision": 8},
    ],
    "model": [5, None],
    "model_sha256": [5, None],
    "survey": [5],
    "grid": [5, "mars"],
    "keep": ["x", 5],
    "created": [5],
    "software": [None],
    "version": [0, -1, "1", 1.0, None, [], True],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in EDITS.items() for value in values])
def test_a_wrong_value_is_named(survey, key, value):
    path = survey.path / "catalogue.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    error = refusal(survey.path)
    assert (error.code, str(path) in error.message) == ("catalogue.damaged", True)
    assert key in error.message


def test_a_missing_key_is_named(survey):
    path = survey.path / "catalogue.json"
    values = json.loads(path.read_text())
    del values["model"]
    path.write_text(json.dumps(values))
    assert "model is missing" in refusal(survey.path).message


def test_a_file_of_an_earlier_version_is_read(survey):
    path = survey.path / "catalogue.json"
    values = json.loads(path.read_text())
    for key in ("version", "grid", "keep"):
        del values[key]
    path.write_text(json.dumps({**values, "remark": "kept by hand"}))
    assert len(catalogs.open(survey.path).table(["ra"])) == 1800


def test_a_later_version_is_refused_and_says_which(survey, run):
    path = survey.path / "catalogue.json"
    values = {**json.loads(path.read_text()), "version": 3, "software": "unions-scanner 9.8"}
    path.write_text(json.dumps(values))
    for attempt in (lambda: catalogs.open(survey.path), lambda: catalogs.create(survey.path, run)):
        with pytest.raises(ScannerError) as refused:
            attempt()
        assert refused.value.code == "catalogue.newer_version"
        assert "unions-scanner 9.8" in refused.value.message
    assert json.loads(path.read_text()) == values


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links of POSIX")
def test_what_is_no_file_is_refused_and_not_waited_for(survey):
    path = survey.path / "catalogue.json"
    path.unlink()
    os.mkfifo(path)
    assert refusal(survey.path).code == "catalogue.damaged"
    path.unlink()
    path.mkdir()
    assert refusal(survey.path).code == "catalogue.damaged"
    path.rmdir()
    path.symlink_to(path)
    assert refusal(survey.path).code == "catalogue.damaged"
    path.unlink()
    path.symlink_to("nowhere")
    assert refusal(survey.path).code == "catalogue.missing"


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
@pytest.mark.parametrize("put", [lambda path: path.write_text("x"), lambda path: path.symlink_to(path)])
def test_something_else_in_the_place_of_the_tiles_is_named(survey, put):
    folder = survey.path / "tiles"
    folder.rename(survey.path / "elsewhere")
    put(folder)
    with pytest.raises(ScannerError) as refused:
        catalogs.open(survey.path).table(["ra"])
    assert refused.value.code == "catalogue.damaged"
    assert str(folder) in refused.value.message


def test_a_catalogue_of_another_user_says_so(survey, monkeypatch):
    """Tests may run as root, who may read all: the refusal of the system is put in the place of its calls."""

    def refuse(path, *rest):
        raise PermissionError(13, "Permission denied", str(path))

    for place in ("pathlib.Path.read_bytes", "os.scandir"):
        with monkeypatch.context() as patch:
            patch.setattr(place, refuse)
            with pytest.raises(ScannerError) as refused:
                catalogs.open(survey.path).table(["ra"])
        assert refused.value.code == "catalogue.no_permission"
        assert str(survey.path) in refused.value.message
    opened = catalogs.open(survey.path)
    monkeypatch.setattr("catalogs.parquet_files.open_file", refuse)
    errors = opened.snapshot().errors
    assert [(error.code, error.hint.split()[0]) for error in errors] == [("tile.damaged", "Ask")] * 6


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        "5",
        "",
        DEEP,
        b"\xff",
        json.dumps({"tile": 5, "code": None, "message": [], "hint": {}, "attempts": "x"}),
    ],
)
def test_a_damaged_record_of_a_failure_is_named_and_replaced(survey, content, caplog):
    survey.record_failure("1.1", "tile.all_nan", "No band has data.")
    path = survey.path / "failures" / "1.1.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert survey.failures() == []
    assert str(path) in caplog.text
    assert survey.record_failure("1.1", "tile.all_nan", "No band has data.").attempts == 1
    assert [failure.tile for failure in survey.failures()] == ["1.1"]


def test_temporaries_of_killed_runs_are_cleared_in_every_folder(survey, run):
    folders = [survey.path / name for name in (".", "tiles", "failures", "index")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        (folder / ".name.json.0123456789ab.tmp").touch()
    catalogs.create(survey.path, run)
    assert list(survey.path.rglob("*.tmp")) == []
