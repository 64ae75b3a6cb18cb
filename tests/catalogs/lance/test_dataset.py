"""A dataset that is not whole, not of one export, or of a later version is refused, and says why."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import catalogs
from catalogs.errors import ErrorCode, ScannerError
from catalogs.lance import OBJECTS, TILES, dataset, library
from catalogs.lance.dataset import ExportRecord, metadata_of


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A copy of the dataset, to be damaged."""
    return Path(shutil.copytree(exported, tmp_path / "objects"))


def refusal(place: Path | str) -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        catalogs.open(f"lance:{place}")
    assert str(place) in caught.value.message
    return caught.value


def rewrite_tiles(folder: Path, info, record) -> None:
    """Write the list of tiles again, with other metadata."""
    lance = library.load()
    table = lance.dataset(str(folder / TILES)).to_table().replace_schema_metadata(metadata_of(info, record))
    shutil.rmtree(folder / TILES)
    lance.write_dataset(table, str(folder / TILES))


def test_a_copy_answers_wherever_it_lies(copy, dataset) -> None:
    moved = copy.rename(copy.with_name("moved"))
    for place in (str(moved), f"{moved}/", f"file-object-store://{moved}"):
        opened = catalogs.open(f"lance:{place}")
        one = int(dataset.table(["object_id"])["object_id"][0])
        assert list(opened.neighbours(object_id=one, k=5)["object_id"]) == list(
            dataset.neighbours(object_id=one, k=5)["object_id"]
        )
    assert repr(opened).startswith("<LanceCatalogue lance:file-object-store:")


def test_a_place_without_a_dataset(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "none"):
        assert refusal(place).code == ErrorCode.CATALOGUE_MISSING


def test_half_a_dataset(copy) -> None:
    (file,) = (copy / OBJECTS / "data").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert refusal(copy).code == ErrorCode.CATALOGUE_DAMAGED
    file.unlink()
    assert file.name in refusal(copy).message
    file.write_bytes(whole)
    assert catalogs.open(f"lance:{copy}").tiles()
    shutil.move(copy / OBJECTS, copy / "elsewhere")
    assert refusal(copy).code == ErrorCode.CATALOGUE_DAMAGED
    shutil.move(copy / "elsewhere", copy / OBJECTS)
    shutil.rmtree(copy / TILES)
    assert refusal(copy).code == ErrorCode.CATALOGUE_MISSING


@pytest.mark.parametrize("table", [OBJECTS, TILES])
def test_a_damaged_manifest(copy, table) -> None:
    newest = min((copy / table / "_versions").glob("*.manifest"))
    newest.write_bytes(b"x" * 300)
    assert refusal(copy).code in (ErrorCode.CATALOGUE_DAMAGED, ErrorCode.CATALOGUE_NEWER_VERSION)


def test_a_missing_index_is_named_when_it_is_asked(copy, dataset) -> None:
    opened = catalogs.open(f"lance:{copy}")
    one = int(dataset.table(["object_id"])["object_id"][0])
    shutil.rmtree(copy / OBJECTS / "_indices")
    with pytest.raises(ScannerError) as caught:
        opened.neighbours(object_id=one, k=5)
    assert caught.value.code == ErrorCode.CATALOGUE_DAMAGED


def test_a_changed_value_is_found_by_verify(copy) -> None:
    (file,) = (copy / OBJECTS / "data").iterdir()
    content = bytearray(file.read_bytes())
    opened = catalogs.open(f"lance:{copy}")
    vector = opened.open_tile("217.291").groups(["embedding"])
    needle = next(vector).column("embedding")[3].values.to_numpy().tobytes()
    content[content.index(needle)] ^= 1
    file.write_bytes(content)
    opened = catalogs.open(f"lance:{copy}")
    opened.open_tile("217.290").verify()
    with pytest.raises(ScannerError) as caught:
        opened.open_tile("217.291").verify()
    assert caught.value.code == ErrorCode.TILE_DAMAGED


def test_tables_of_two_exports_or_models_are_refused(copy) -> None:
    opened = catalogs.open(f"lance:{copy}")
    info, record = opened.info, opened.record
    rewrite_tiles(copy, info, ExportRecord(1, "0" * 64, record.rows, record.search))
    assert "two exports" in refusal(copy).message
    other = dataset_info(info, "b" * 64)
    rewrite_tiles(copy, other, record)
    assert refusal(copy).code == ErrorCode.CATALOGUE_OTHER_MODEL
    rewrite_tiles(copy, info, ExportRecord(1, record.digest, record.rows + 1, record.search))
    assert refusal(copy).code == ErrorCode.CATALOGUE_DAMAGED


def dataset_info(info, sha256: str):
    from dataclasses import replace

    return replace(info, model_sha256=sha256)


def test_a_later_version_of_the_export_or_of_lance_is_refused(copy) -> None:
    opened = catalogs.open(f"lance:{copy}")
    record = opened.record
    rewrite_tiles(copy, opened.info, ExportRecord(dataset.VERSION + 1, record.digest, record.rows, record.search))
    assert refusal(copy).code == ErrorCode.CATALOGUE_NEWER_VERSION
    rewrite_tiles(copy, opened.info, record)
    assert catalogs.open(f"lance:{copy}").tiles()
    # The end of a file: major and minor version of the format, and a mark.
    for table in (OBJECTS, TILES):
        (file,) = (copy / table / "data").iterdir()
        content = bytearray(file.read_bytes())
        assert content[-4:] == b"LANC"
        content[-8:-4] = (9).to_bytes(2, "little") * 2
        file.write_bytes(content)
        assert refusal(copy).code == ErrorCode.CATALOGUE_NEWER_VERSION
