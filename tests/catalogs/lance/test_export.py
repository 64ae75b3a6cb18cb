"""A dataset holds every primary object once, and appears when it is complete, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import catalogs
from catalogs.errors import ErrorCode, ScannerError
from catalogs.lance import export, library
from catalogs.lance.dataset import EXPORT_KEY
from catalogs.ranking.evaluation import EvaluationSettings, evaluate
from catalogs.ranking.outliers import outliers
from catalogs.search.matching import match
from catalogs.store import vectors
from tests.catalogs.lance.conftest import FEWEST, OPTIONS, ROWS, TILES, fill
from tests.support.small_disk import remount, small_disk

PROGRAM = """
import os, sys
from pathlib import Path
import catalogs
from catalogs.lance import export
export.FEWEST_INDEXED, export.FILE_ROWS, export.tuning.QUESTIONS = {fewest}, 1, 40
stop = sys.argv[3]
def progress(done, of):
    if stop == "file":
        os._exit(9)
def dies(*given, **named):
    os._exit(9)
if stop == "index":
    export._Export._remove_unused = dies
if stop == "tune":
    export.tuning.tune = dies
if stop == "rename":
    export._report = dies
print(export.export(catalogs.open(Path(sys.argv[1])), Path(sys.argv[2]), export.LanceOptions(target=0.9), progress))
"""


def run(catalogue: Path, out: Path, stop: str = "") -> subprocess.Popen[str]:
    """Export in a process of its own, which ends at once at ``stop``."""
    program = PROGRAM.format(fewest=FEWEST)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(catalogue), str(out), stop],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip


def check(out: Path, catalogue) -> None:
    """Compare a dataset with its catalogue, and with its own checksums."""
    dataset = catalogs.open(f"lance:{out}")
    expected = set(catalogue.table(["object_id"], where="is_primary")["object_id"].tolist())
    assert set(dataset.table(["object_id"])["object_id"].tolist()) == expected
    for tile in dataset.tiles():
        dataset.open_tile(tile).verify()
    assert dataset.objects.count_rows() == len(expected)
    named = {file.path for fragment in dataset.objects.get_fragments() for file in fragment.metadata.files}
    assert {path.name for path in (out / "objects.lance" / "data").iterdir()} == named


def test_every_primary_object_is_stored_once_in_the_order_of_the_sky(catalogue, exported, dataset) -> None:
    names = catalogue.schema.names
    expected = catalogue.table(names, where="is_primary")
    stored = dataset.objects.to_table(columns=names)
    assert len(stored) == len(expected) < TILES * ROWS
    # Large files: all tiles are in one.
    assert len(dataset.fragments) == 1
    assert stored.schema.field("ra").metadata == catalogue.schema.field("ra").metadata
    for tile in dataset.tiles():
        pixels = stored.filter(pa.compute.field("tile") == tile)["_healpix_29"].to_numpy()
        assert (np.diff(pixels) >= 0).all()
    stored = stored.take(np.argsort(stored["object_id"].to_numpy()))
    expected.sort("object_id")
    for name in names:
        here = vectors.from_arrow(stored[name]) if name == "embedding" else stored[name].to_numpy()
        there = np.asarray(expected[name])
        assert np.array_equal(here.astype(there.dtype), there, equal_nan=there.dtype.kind == "f"), name
    assert not [*exported.parent.glob(f".{exported.name}*")]


def test_the_dataset_has_indexes_and_says_what_it_was_made_from(catalogue, exported, dataset) -> None:
    indexes = {index.name: index.num_rows_indexed for index in dataset.objects.describe_indices()}
    assert set(indexes) == {
        f"{name}_idx" for name in ("embedding", "_healpix_29", "mag_auto", "mag_u", "mag_g", "mag_r")
    }
    assert set(indexes.values()) == {dataset.record.rows}
    assert dataset.info == catalogue.info
    assert json.loads(dataset.objects.schema.metadata[EXPORT_KEY])["digest"] == dataset.record.digest


def test_the_same_command_keeps_a_complete_dataset_and_another_is_refused(catalogue, exported) -> None:
    files = {path: path.stat().st_mtime_ns for path in exported.rglob("*")}
    report = export.export(catalogue, exported, OPTIONS)
    assert report.rows == catalogs.open(f"lance:{exported}").record.rows
    with pytest.raises(ScannerError) as caught:
        export.export(catalogue, exported, export.LanceOptions(where="mag_r < 20"))
    assert caught.value.code == ErrorCode.PUBLISH_NOT_EMPTY
    assert {path: path.stat().st_mtime_ns for path in exported.rglob("*")} == files


def test_some_rows_and_columns_in_half_precision(catalogue, tmp_path) -> None:
    options = export.LanceOptions("mag_r < 25", ("mag_r",), float16=True, target=0.9)
    export.export(catalogue, tmp_path / "out", options)
    dataset = catalogs.open(f"lance:{tmp_path / 'out'}")
    assert set(dataset.schema.names) == {*export.NEEDED, "mag_r"}
    assert dataset.objects.schema.field("embedding").type.value_type == pa.float16()
    expected = catalogue.table(["object_id", "embedding"], where="mag_r < 25 and is_primary")
    stored = dataset.table(["object_id", "embedding"])
    for table in (expected, stored):
        table.sort("object_id")
    assert list(stored["object_id"]) == list(expected["object_id"])
    assert np.asarray(stored["embedding"]) == pytest.approx(np.asarray(expected["embedding"]), abs=1e-6)
    for tile in dataset.tiles():
        dataset.open_tile(tile).verify()
    one = int(stored["object_id"][0])
    assert len(dataset.neighbours(object_id=one, k=5)) == 5


def test_columns_that_were_left_out_are_named_and_no_command_takes_the_dataset_for_damaged(catalogue, tmp_path) -> None:
    export.export(catalogue, tmp_path / "out", export.LanceOptions(columns=(), target=0.9))
    dataset = catalogs.open(f"lance:{tmp_path / 'out'}")
    assert list(outliers(dataset, k=5, sample=200)["rank"]) == [1, 2, 3, 4, 5]
    places = dataset.table(["object_id", "ra", "dec"])[:30]
    lenses = match(dataset.snapshot(), places["ra"], places["dec"])
    evaluate(dataset, lenses, EvaluationSettings(draws=2))
    for take in (
        lambda: dataset.table(["mag_r"]),
        lambda: dataset.table(where="mag_r < 20"),
        lambda: dataset.read(["mag_r"], 0, 1),
        lambda: dataset.take(["mag_r"], np.zeros(1, np.int64)),
    ):
        with pytest.raises(ScannerError, match="mag_r") as caught:
            take()
        assert caught.value.code in (ErrorCode.COLUMN_UNKNOWN, ErrorCode.WHERE_COLUMN)


def test_a_dataset_with_the_columns_of_another_version_is_not_this_export(catalogue, tmp_path, monkeypatch) -> None:
    options = export.LanceOptions(columns=("mag_r",), target=0.9)
    with monkeypatch.context() as patch:
        patch.setattr(export, "NEEDED", tuple(name for name in export.NEEDED if name != "flags"))
        export.export(catalogue, tmp_path / "out", options)
    with pytest.raises(ScannerError) as caught:
        export.export(catalogue, tmp_path / "out", options)
    assert caught.value.code == ErrorCode.PUBLISH_NOT_EMPTY


def test_few_rows_have_no_index_and_are_compared(catalogue, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(export, "FEWEST_INDEXED", 10**6)
    assert export.export(catalogue, tmp_path / "out", export.LanceOptions("flags == 1")).search is None
    dataset = catalogs.open(f"lance:{tmp_path / 'out'}")
    one = int(dataset.table(["object_id"])["object_id"][0])
    answer = dataset.neighbours(object_id=one, k=5)
    expected = catalogue.neighbours(object_id=one, k=5, where="is_primary and flags == 1")
    assert list(answer["object_id"]) == list(expected["object_id"])
    assert answer.meta["rows_exact"] == dataset.record.rows


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (export.LanceOptions(where="mag_r > 1000 and flags == 77"), ErrorCode.PUBLISH_NOTHING),
        (export.LanceOptions(where="mag_x < 1"), ErrorCode.WHERE_COLUMN),
        (export.LanceOptions(columns=("mag_x",)), ErrorCode.COLUMN_UNKNOWN),
        (export.LanceOptions(target=1.0), ErrorCode.INDEX_RECALL),
    ],
)
def test_what_cannot_be_exported_is_refused(catalogue, tmp_path, options, code, monkeypatch) -> None:
    # No list is complete where the nearest are not ranked by their own numbers.
    monkeypatch.setattr(export.tuning, "REFINE", (1,))
    monkeypatch.setattr(export.tuning, "count_of", lambda k: k)
    with pytest.raises(ScannerError) as caught:
        export.export(catalogue, tmp_path / "out", options)
    assert caught.value.code == code
    assert not (tmp_path / "out").exists()


def test_a_damaged_tile_is_not_left_out(tmp_path) -> None:
    catalogue = fill(tmp_path / "embeddings")
    path = catalogue.tile_path("217.291")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ScannerError) as caught:
        export.export(catalogue, tmp_path / "out", OPTIONS)
    assert caught.value.code == ErrorCode.PUBLISH_DAMAGED_TILE


@pytest.mark.parametrize("stop", ["file", "index", "tune", "rename"])
def test_a_killed_export_goes_on_with_the_same_command(catalogue, tmp_path, stop, monkeypatch) -> None:
    out = tmp_path / "out"
    process = run(catalogue.path, out, stop)
    process.communicate()
    assert process.returncode == 9
    assert out.exists() == (stop == "rename")
    before = {path.name: path.stat().st_ino for path in tmp_path.rglob("*.lance") if path.is_file()}
    assert before
    monkeypatch.setattr(export, "FILE_ROWS", 1)
    # What a killed writer leaves is named by no record.
    (data,) = (path for path in tmp_path.rglob("data") if path.parent.name == "objects.lance")
    if stop != "rename":
        (data / "half.lance").write_bytes(b"half a file")
    export.export(catalogue, out, OPTIONS)
    check(out, catalogue)
    after = {path.name: path.stat().st_ino for path in out.rglob("*.lance") if path.is_file()}
    rows = {path.name for path in data.parent.glob("data/*")} | {
        path.name for path in (out / "objects.lance/data").iterdir()
    }
    kept = [name for name in rows if name in before]
    assert len(kept) == (1 if stop == "file" else TILES)
    assert all(before[name] == after[name] for name in kept)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_reader_finds_nothing_until_the_dataset_is_complete(catalogue, tmp_path, monkeypatch) -> None:
    out, seen = tmp_path / "out", []
    tune = export.tuning.tune

    def look(*given: object) -> object:
        with pytest.raises(ScannerError) as caught:
            catalogs.open(f"lance:{out}")
        seen.append(caught.value.code)
        return tune(*given) if given and not isinstance(given[0], int) else None

    monkeypatch.setattr(export.tuning, "tune", look)
    export.export(catalogue, out, OPTIONS, look)
    assert set(seen) == {ErrorCode.CATALOGUE_MISSING}
    assert len(seen) == 2
    check(out, catalogue)


def test_two_exports_of_one_name_make_one_dataset(catalogue, tmp_path) -> None:
    both = [run(catalogue.path, tmp_path / "out") for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    check(tmp_path / "out", catalogue)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_catalogue_that_changes_meanwhile_is_refused(tmp_path, monkeypatch) -> None:
    catalogue = fill(tmp_path / "embeddings")
    monkeypatch.setattr(export, "FILE_ROWS", 1)

    def change(done: int, of: int) -> None:
        for tile in catalogue.tiles():
            os.utime(catalogue.tile_path(tile), ns=(1, 1))

    with pytest.raises(ScannerError) as caught:
        export.export(catalogue, tmp_path / "out", OPTIONS, change)
    assert caught.value.code == ErrorCode.PUBLISH_CHANGED
    assert not (tmp_path / "out").exists()
    # The next run begins anew: tiles are others now.
    export.export(catalogue, tmp_path / "out", OPTIONS)
    check(tmp_path / "out", catalogue)


def test_a_full_disk_is_named_and_finished_files_are_kept(catalogue, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(export, "FILE_ROWS", 1)
    with small_disk(tmp_path / "disk", 300_000) as disk:
        with pytest.raises(ScannerError) as caught:
            export.export(catalogue, disk / "out", OPTIONS)
        assert caught.value.code == ErrorCode.OUTPUT_FULL
        kept = {path.name for path in disk.rglob("0*.json")}
        assert kept
        remount(disk, "size=50000000")
        export.export(catalogue, disk / "out", OPTIONS)
        check(disk / "out", catalogue)


def test_without_the_package_it_says_what_to_install(catalogue, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    for ask in (lambda: export.export(catalogue, tmp_path / "out"), lambda: catalogs.open("lance:x"), library.load):
        with pytest.raises(ScannerError) as caught:
            ask()
        assert caught.value.code == ErrorCode.LANCE_NOT_INSTALLED
    assert not shutil.which("unions-scanner[lance]")
