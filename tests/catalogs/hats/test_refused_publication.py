"""What is not published, and a publication that was killed: the next one finishes it, or begins anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from catalogs import hats
from catalogs.catalogue import Catalogue
from catalogs.errors import ScannerError
from catalogs.hats import partitions
from tests.catalogs.hats.conftest import SMALL, read_tables, write_tiles
from tests.support.damage import damage_column


def test_unfinished_work_of_other_options_is_not_gone_on_with(catalogue, tmp_path, monkeypatch) -> None:
    out = tmp_path / "archive"
    with monkeypatch.context() as broken:
        broken.setattr("catalogs.hats.metadata.write", lambda *rest: exit())
        with pytest.raises(SystemExit):
            hats.publish(catalogue, out, SMALL)
    made = hats.publish(catalogue, out, dataclasses.replace(SMALL, where="mag_r < 10"))
    assert made.rows == len(catalogue.table(where="mag_r < 10 and is_primary"))
    assert all((table["mag_r"].to_numpy() < 10).all() for table in read_tables(out / "unions").values())


def code_of(catalogue: Catalogue, out: Path, **options: object) -> str:
    with pytest.raises(ScannerError) as refused:
        hats.publish(catalogue, out, dataclasses.replace(SMALL, **options))
    assert refused.value.hint
    return refused.value.code


def test_what_cannot_be_published_is_said(catalogue, tmp_path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    assert code_of(catalogue, tmp_path / "there") == "publish.not_empty"
    assert code_of(catalogue, tmp_path / "there" / "file") == "publish.not_empty"
    assert code_of(catalogue, tmp_path / "new", where="mag_r < -100") == "publish.nothing"
    assert code_of(catalogue, tmp_path / "new", name="no/slash") == "publish.bad_option"
    assert code_of(catalogue, tmp_path / "new", margin=100.0) == "publish.bad_option"
    assert code_of(catalogue, tmp_path / "new", where="nonsense < 1") == "where.column"
    assert code_of(catalogue, tmp_path / "there" / "file" / "new") == "output.read_only"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_an_empty_folder_may_be_the_target(catalogue, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert hats.publish(catalogue, tmp_path / "empty", SMALL).partitions > 5


def test_a_catalogue_with_a_damaged_tile_is_not_published_without_it(
    tmp_path, on_grid, make_rows, write_tile, caplog
) -> None:
    catalogue = write_tiles(tmp_path / "embeddings", ["000.292", "001.292"], on_grid, make_rows, write_tile)
    path = catalogue.tile_path("001.292")
    path.write_bytes(path.read_bytes()[:-50])
    assert code_of(catalogue, tmp_path / "out") == "publish.damaged_tile"


@pytest.mark.parametrize("column", ["_healpix_29", "embedding", "mag_r", "is_primary"])
def test_no_tile_with_damaged_pages_is_left_out_in_silence(tmp_path, on_grid, make_rows, write_tile, column) -> None:
    catalogue = write_tiles(tmp_path / "embeddings", ["000.292", "001.292"], on_grid, make_rows, write_tile)
    whole = hats.publish(catalogue, tmp_path / "before", SMALL)
    path = catalogue.tile_path("001.292")
    sound = path.read_bytes()
    damage_column(path, column)
    with pytest.raises(ScannerError) as refused:
        hats.publish(catalogue, tmp_path / "out", SMALL)
    assert refused.value.code == "publish.damaged_tile"
    assert str(path) in refused.value.message
    assert "scan-tiles --verify" in refused.value.hint
    assert not (tmp_path / "out").exists()
    path.write_bytes(sound)
    again = hats.publish(catalogue, tmp_path / "out", SMALL)
    assert (again.rows, again.bytes) == (whole.rows, whole.bytes)


def test_a_copy_of_a_tile_is_not_published_twice(tmp_path, on_grid, make_rows, write_tile) -> None:
    catalogue = write_tiles(tmp_path / "embeddings", ["000.292"], on_grid, make_rows, write_tile)
    copy = catalogue.path / "tiles" / "000.292 (copy).parquet"
    copy.write_bytes(catalogue.tile_path("000.292").read_bytes())
    with pytest.raises(ScannerError, match=r"000\.292 \(copy\)") as refused:
        hats.publish(catalogue, tmp_path / "out", SMALL)
    assert refused.value.code == "publish.damaged_tile"


@pytest.mark.parametrize("left", ["all", "report alone"])
def test_a_publication_that_ended_after_its_rename_is_finished(catalogue, tmp_path, monkeypatch, left) -> None:
    out, partial = tmp_path / "archive", tmp_path / ".archive.partial"
    whole = hats.publish(catalogue, tmp_path / "whole", SMALL)

    def end_in(folder: Path) -> None:
        if left == "report alone":
            for path in sorted(folder.rglob("*"), reverse=True):
                if path.name != "report.json":
                    path.rmdir() if path.is_dir() else path.unlink()
        raise SystemExit

    with monkeypatch.context() as broken:
        broken.setattr("catalogs.hats.publication._clear", end_in)
        with pytest.raises(SystemExit):
            hats.publish(catalogue, out, SMALL)
    assert partial.exists()
    report = hats.publish(catalogue, out, SMALL)
    assert dataclasses.replace(report, path=whole.path) == whole
    assert not partial.exists()
    assert code_of(catalogue, out) == "publish.not_empty"


def test_the_rest_of_a_finished_publication_is_cleared_by_any_later_one(catalogue, tmp_path, monkeypatch) -> None:
    out, partial = tmp_path / "archive", tmp_path / ".archive.partial"
    with monkeypatch.context() as broken:
        broken.setattr("catalogs.hats.publication._clear", lambda folder: exit())
        with pytest.raises(SystemExit):
            hats.publish(catalogue, out, SMALL)
    assert code_of(catalogue, out, margin=5.0) == "publish.not_empty"
    assert not partial.exists()


def test_no_temporary_of_a_killed_run_is_published(catalogue, tmp_path, monkeypatch) -> None:
    out, partial = tmp_path / "archive", tmp_path / ".archive.partial"
    with monkeypatch.context() as broken:
        broken.setattr("catalogs.hats.metadata.write", lambda *rest: exit())
        with pytest.raises(SystemExit):
            hats.publish(catalogue, out, SMALL)
    folders = [partial, *(path for path in partial.rglob("*") if path.is_dir())]
    assert len(folders) > 5
    for folder in folders:
        (folder / ".Npix=1.parquet.0123456789ab.tmp").touch()
    hats.publish(catalogue, out, SMALL)
    assert list(tmp_path.rglob("*.tmp")) == []


def test_a_tile_that_changes_meanwhile_is_noticed(tmp_path, on_grid, make_rows, write_tile) -> None:
    catalogue = write_tiles(tmp_path / "embeddings", ["000.292", "001.292"], on_grid, make_rows, write_tile)
    split = partitions.split

    def meanwhile(rows, limit):
        write_tile(catalogue, "001.292", make_rows(1292, [1.0], [56.0]), on_grid)
        return split(rows, limit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catalogs.hats.publication.split", meanwhile)
        assert code_of(catalogue, tmp_path / "out") == "publish.changed"
