"""An index is brought up to date without touching what stands, survives kills, and is refused where it would crash."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs.errors import ScannerError
from catalogs.index import assignment, searcher, shards
from catalogs.index.build import IndexOptions, IndexReport, build_index, count_indexed_rows
from catalogs.index.settings import IndexSettings
from catalogs.search import candidates
from catalogs.store.footers import Footer


@pytest.fixture
def folder(survey, monkeypatch):
    """The folder of an index with three shards of two tiles each; searches use it whatever their size."""
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    monkeypatch.setattr(candidates, "FEW_ROWS", 0)
    report = build_index(survey, IndexOptions(shard_rows=700))
    assert (report.tiles, report.rows, report.skipped) == (6, 1800, 0)
    assert (report.built, report.kept) == (("shard-00000", "shard-00001", "shard-00002"), ())
    data = [path for path in (survey.path / "index").glob("shard-*") if path.suffix != ".json"]
    assert report.bytes == sum(path.stat().st_size for path in data)
    return survey.path / "index"


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.iterdir() if path.name.startswith("shard-")]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def answer(survey):
    found = survey.neighbours(vector=np.arange(16.0), k=8)
    return list(found["object_id"]), found.meta["rows_indexed"]


def test_the_sidecar_says_what_the_file_is(survey, folder, run):
    sidecar = json.loads((folder / "shard-00000.json").read_text())
    assert IndexSettings(**sidecar["recipe"]) == IndexSettings("annoy", 16, 6, seed=1, effort=5000, candidates=500)
    assert sidecar["dim"] == 16
    assert sidecar["model_sha256"] == run.model_sha256
    assert [tile["tile"] for tile in sidecar["tiles"]] == ["100.240", "101.240"]
    assert sidecar["tiles"][0]["size"] == survey.tile_path("100.240").stat().st_size


def test_nothing_new_touches_nothing(survey, folder):
    before = contents(folder)
    report = build_index(survey, IndexOptions(shard_rows=700))
    assert (report.built, len(report.kept)) == ((), 3)
    assert contents(folder) == before


def test_a_changed_tile_touches_its_shard_alone(survey, folder, make_rows, write_tile):
    before = contents(folder)
    write_tile(survey, "102.240", make_rows(102, np.linspace(0, 0.4, 250), np.linspace(30, 30.4, 250)))
    assert count_indexed_rows(survey) == 1500
    report = build_index(survey, IndexOptions(shard_rows=700))
    assert (report.built, report.kept) == (("shard-00001",), ("shard-00000", "shard-00002"))
    assert count_indexed_rows(survey) == 1750
    after = contents(folder)
    assert {name for name in before if before[name] != after.get(name)} == {
        name for name in before if name.startswith("shard-00001")
    }
    assert answer(survey)[1] == 1750


def test_a_new_tile_fills_a_shard_that_has_room_or_opens_one(survey, folder, make_rows, write_tile):
    write_tile(survey, "200.240", make_rows(200, np.linspace(3, 4, 90), np.linspace(30, 31, 90)))
    assert len(build_index(survey, IndexOptions(shard_rows=700)).built) == 1
    write_tile(survey, "201.240", make_rows(201, np.linspace(3, 4, 300), np.linspace(31, 32, 300)))
    report = build_index(survey, IndexOptions(shard_rows=700))
    assert (report.built, len(report.kept)) == (("shard-00003",), 3)


def test_a_tile_that_went_leaves_the_index(survey, folder):
    survey.tile_path("104.240").unlink()
    assert build_index(survey, IndexOptions(shard_rows=700)).rows == 1500
    survey.tile_path("105.240").unlink()
    assert build_index(survey, IndexOptions(shard_rows=700)).rows == 1200
    assert sorted(path.name for path in folder.glob("*.json")) == ["shard-00000.json", "shard-00001.json"]
    assert all(len(list(folder.glob(f"*{suffix}"))) == 2 for suffix in shards.SUFFIXES)


def test_the_plan_of_an_earlier_version_is_removed(survey, folder):
    (folder / "plan.json").write_text('{"shard-00000": ["100.240"]}', encoding="utf-8")
    assert build_index(survey, IndexOptions(shard_rows=700)).built == ()
    assert not (folder / "plan.json").exists()


def test_other_settings_build_anew(survey, folder):
    assert len(build_index(survey, IndexOptions(trees=5, shard_rows=700)).built) == 3
    assert len(build_index(survey, IndexOptions(trees=5, shard_rows=700)).built) == 0
    assert len(list(folder.glob("*.ann"))) == 3


def test_a_copied_catalogue_keeps_its_index(survey, folder):
    for path in (survey.path / "tiles").iterdir():
        os.utime(path, (1e9, 1e9))
    assert answer(survey)[1] == 1800
    assert build_index(survey, IndexOptions(shard_rows=700)).built == ()


def test_the_same_rows_give_the_same_files(survey, folder):
    before = {name: content for name, (content, _) in contents(folder).items()}
    for path in folder.iterdir():
        path.unlink()
    build_index(survey, IndexOptions(shard_rows=700))
    assert {name: content for name, (content, _) in contents(folder).items()} == before


def test_files_can_be_read_by_others(survey, folder):
    before = os.umask(0)
    os.umask(before)
    for path in folder.glob("shard-*"):
        assert path.stat().st_mode & 0o777 == 0o666 & ~before, path.name


def test_an_index_older_than_its_tiles_still_gives_right_answers(survey, folder, make_rows, write_tile):
    write_tile(survey, "100.240", make_rows(100, [0.1, 0.2], [30.1, 30.2], np.array([np.arange(16.0), np.ones(16)])))
    write_tile(survey, "300.240", make_rows(300, [0.3], [30.3], np.arange(16.0)[None] + 0.01))
    ids, indexed = answer(survey)
    assert ids[:2] == [100_000_000, 300_000_000]
    assert indexed == 1500


def test_without_its_sidecar_an_annoy_file_is_refused_and_a_build_mends_it(survey, folder):
    expected = answer(survey)
    (folder / "shard-00001.json").unlink()
    with pytest.raises(ScannerError) as refused:
        answer(survey)
    assert refused.value.code == "index.no_sidecar"
    assert "shard-00001" in refused.value.message
    assert "scanner index" in refused.value.hint
    build_index(survey, IndexOptions(shard_rows=700))
    assert answer(survey) == expected


def test_a_strange_annoy_file_is_refused(survey, folder):
    (folder / "mine.ann").write_bytes(b"\0" * 760)
    with pytest.raises(ScannerError) as refused:
        answer(survey)
    assert refused.value.code == "index.no_sidecar"


def test_another_dimension_is_refused_and_a_build_mends_it(survey, folder):
    expected = answer(survey)
    sidecar = folder / "shard-00000.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"dim": 32}))
    with pytest.raises(ScannerError) as refused:
        answer(survey)
    assert refused.value.code == "index.dimension"
    assert "32" in refused.value.message
    assert "16" in refused.value.message
    build_index(survey, IndexOptions(shard_rows=700))
    assert answer(survey) == expected


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_overwrite(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(np.random.default_rng(0).bytes(size))


def damage_other_dimension(path: Path) -> None:
    from annoy import AnnoyIndex

    other = AnnoyIndex(24, "angular")
    for number in range(600):
        other.add_item(number, np.random.default_rng(number).normal(size=24).tolist())
    other.build(10)
    other.save(str(path))


@pytest.mark.parametrize("suffix", shards.SUFFIXES)
@pytest.mark.parametrize("damage", [damage_truncate, damage_overwrite, damage_other_dimension, Path.unlink])
def test_a_corrupt_shard_is_named_searched_around_and_rebuilt(survey, folder, damage, suffix, caplog):
    ids, _ = answer(survey)
    path = next(folder.glob(f"shard-00001-*{suffix}"))
    damage(path)
    assert answer(survey) == (ids, 1200)
    assert "shard-00001" in caplog.text
    report = build_index(survey, IndexOptions(shard_rows=700))
    assert report.built == ("shard-00001",)
    assert answer(survey) == (ids, 1800)


@pytest.fixture
def larger(catalogue, make_rows, write_tile, monkeypatch):
    """A catalogue whose index has files with a middle: more than the ends that are looked at."""
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    write_tile(catalogue, "1.1", make_rows(1, np.linspace(0, 1, 5000), np.linspace(0, 1, 5000)))
    build_index(catalogue)
    return catalogue


def damage_middle(path: Path) -> None:
    """Bytes of a page written over: of Annoy's file, pointers that lead nowhere."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 - 2048)
        file.write(np.random.default_rng(0).bytes(4096))


@pytest.mark.parametrize("suffix", shards.SUFFIXES)
def test_a_file_that_was_changed_in_the_middle_is_never_asked(larger, suffix, caplog):
    """Annoy would crash."""
    expected = answer(larger)
    path = next((larger.path / "index").glob(f"*{suffix}"))
    damage_middle(path)
    assert answer(larger) == (expected[0], 0)
    assert path.name in caplog.text
    assert "scanner index" in caplog.text
    assert build_index(larger).built == ("shard-00000",)
    assert answer(larger) == expected


@pytest.mark.parametrize("suffix", shards.SUFFIXES)
def test_a_bit_that_flipped_on_the_disk_is_found_by_reading_every_byte(larger, suffix, caplog):
    before = contents(larger.path / "index")
    path = next((larger.path / "index").glob(f"*{suffix}"))
    stat = path.stat()
    damage_middle(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert build_index(larger).built == ()
    assert build_index(larger, IndexOptions(all_bytes=True)).built == ("shard-00000",)
    assert path.name in caplog.text
    after = contents(larger.path / "index")
    assert {name: old for name, (old, _) in before.items()} == {name: new for name, (new, _) in after.items()}
    assert build_index(larger, IndexOptions(all_bytes=True)).built == ()


def test_a_copied_index_is_read_once_and_then_trusted(larger, tmp_path, caplog):
    caplog.set_level("INFO")
    expected = answer(larger)
    copy = catalogs.open(shutil.copytree(larger.path, tmp_path / "copy", copy_function=shutil.copyfile))
    for path in (copy.path / "index").glob("shard-*-*"):
        os.utime(path, (4e9, 4e9))  # as if copied after the sidecar
    assert answer(copy) == expected
    assert "so all of it is read" in caplog.text
    for path in (copy.path / "index").glob("shard-*-*"):
        os.utime(path)
    assert build_index(copy).built == ()
    caplog.clear()
    shards._checksum.cache_clear()
    assert answer(copy) == expected
    assert "so all of it is read" not in caplog.text


def test_an_index_is_mended_as_it_was_made(survey, folder):
    build_index(survey, IndexOptions(trees=3))
    for path in folder.glob("*.ann"):
        damage_truncate(path)
    report = build_index(survey)
    assert report.kept == ()
    assert report.recipe is not None
    assert report.recipe.trees == 3


def test_a_corrupt_sidecar_is_named_searched_around_and_rebuilt(survey, folder, caplog):
    ids, _ = answer(survey)
    (folder / "shard-00001.json").write_text("{")
    assert answer(survey) == (ids, 1200)
    assert "shard-00001.json" in caplog.text
    assert build_index(survey, IndexOptions(shard_rows=700)).built == ("shard-00001",)


def test_two_processes_at_once_build_once(survey, monkeypatch):
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    script = """
import sys
from catalogs.index.build import IndexOptions, build_index; import catalogs
print(len(build_index(catalogs.open(sys.argv[1]), IndexOptions(shard_rows=700)).built))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", script, str(survey.path)]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    assert sorted(process.communicate()[0].strip() for process in pair) == ["0", "3"]
    assert answer(survey)[1] == 1800


def test_asking_while_indexing_is_always_right(survey, folder):
    expected = answer(survey)[0]
    script = """
import sys
from catalogs.index.build import IndexOptions, build_index; import catalogs
catalogue = catalogs.open(sys.argv[1])
for trees in range(2, 12):
    build_index(catalogue, IndexOptions(trees=trees, shard_rows=700))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-c", script, str(survey.path)], env=environment)
    while process.poll() is None:
        assert answer(survey)[0] == expected
    assert process.wait() == 0


def test_an_empty_catalogue_and_empty_tiles_index_to_nothing(catalogue, run):
    assert build_index(catalogue) == IndexReport(0, 0, 0, 0, (), (), None)
    with catalogue.writer("1.1", run):
        pass
    assert build_index(catalogue).rows == 0


def test_a_tile_without_a_single_sound_vector_can_be_indexed(catalogue, make_rows, write_tile, monkeypatch):
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    write_tile(catalogue, "1.1", make_rows(1, [1.0, 2.0], [1.0, 2.0], np.full((2, 16), np.nan)))
    assert build_index(catalogue).skipped == 2
    assert build_index(catalogue).built == ()
    assert len(catalogue.neighbours(vector=np.ones(16))) == 0


def footer(tile: str, rows: int) -> Footer:
    return Footer(tile, 1, 1, rows, "", 0, 0, None)


def test_tiles_stay_in_their_shards_and_large_ones_have_their_own():
    found = [footer("a", 5), footer("b", 3), footer("c", 20), footer("d", 4), footer("e", 0)]
    first = assignment.assign({}, found, capacity=10)
    assert [[tile.tile for tile in tiles] for tiles in first.values()] == [["a", "b"], ["c"], ["d"]]
    names = {name: [tile.tile for tile in tiles] for name, tiles in first.items()}
    again = assignment.assign(names, [*found, footer("aa", 6)], capacity=10)
    assert {name: [tile.tile for tile in tiles] for name, tiles in again.items()} == {
        **names,
        "shard-00002": ["d", "aa"],
    }


def test_annoys_numbers_have_no_gap(survey, folder):
    for path in folder.glob("shard-*.json"):
        shard = shards.read(path, 16)
        one = searcher.Searcher(shard, folder)
        numbers, cosine = one.candidates(np.ones(16, np.float32) / 4, 10_000, 100_000)
        assert sorted(numbers) == list(range(shard.rows))
        assert np.all(np.diff(cosine) <= 1e-6)


def test_a_tile_of_another_model_never_enters(survey, folder, run, make_rows, write_tile, tmp_path, caplog):
    other = dataclasses.replace(run, model_sha256="b" * 64)
    write_tile(catalogs.create(tmp_path / "other", other), "300.240", make_rows(300, [0.3], [30.3]), other)
    shutil.copy(tmp_path / "other" / "tiles" / "300.240.parquet", survey.path / "tiles")
    report = build_index(survey, IndexOptions(shard_rows=700))
    assert (report.tiles, report.rows, report.built) == (6, 1800, ())
    assert "300.240" in caplog.text
    assert answer(survey)[1] == 1800


def test_an_index_of_another_model_answers_for_nothing_and_is_replaced(survey, folder):
    ids, _ = answer(survey)
    for path in folder.glob("shard-*.json"):
        path.write_text(path.read_text().replace("a" * 64, "b" * 64))
    assert answer(survey) == (ids, 0)
    assert len(build_index(survey, IndexOptions(shard_rows=700)).built) == 3
    assert answer(survey) == (ids, 1800)


def test_the_sidecar_of_an_earlier_version_is_refused_and_replaced(survey, folder, caplog):
    ids, _ = answer(survey)
    path = folder / "shard-00001.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if key != "recipe"}
    path.write_text(json.dumps(old | {"metric": "angular", "trees": 10}))
    assert answer(survey) == (ids, 1200)
    assert "shard-00001.json" in caplog.text
    assert build_index(survey, IndexOptions(shard_rows=700)).built == ("shard-00001",)
