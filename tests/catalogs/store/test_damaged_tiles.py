"""One tile file that is damaged, or written by another program: named in every question, without harm to others."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import catalogs
from catalogs import hats
from catalogs.catalogue import Catalogue
from catalogs.errors import ScannerError
from catalogs.index.build import build_index
from catalogs.maps.build import build_map
from catalogs.maps.read import MapSettings
from catalogs.ranking.outliers import outliers
from catalogs.ranking.rank import rank
from catalogs.search import matching
from tests.support import catalogue_rows
from tests.support.damage import damage_column, flip_bytes

ODD, SOUND = "101.240", 240
DIM = catalogue_rows.DIM


@pytest.fixture(scope="module")
def three_tiles(tmp_path_factory) -> Catalogue:
    """Three tiles of 120 objects side by side, of which the second will be odd."""
    catalogue = catalogs.create(tmp_path_factory.mktemp("sound") / "embeddings", catalogue_rows.RUN)
    for number in range(3):
        ra, dec = np.linspace(10 + number, 10.4 + number, 120), np.linspace(30, 30.4, 120)
        catalogue_rows.write(catalogue, f"10{number}.240", catalogue_rows.make(100240 + number * 1000, ra, dec))
    return catalogue


@pytest.fixture
def catalogue(three_tiles, tmp_path) -> Catalogue:
    shutil.copytree(three_tiles.path, tmp_path / "embeddings")
    return catalogs.open(tmp_path / "embeddings")


def answers(catalogue: Catalogue) -> dict[str, object]:
    """The number of rows, or of something like it, in the answer to each question."""
    snapshot = catalogue.snapshot()
    like = matching.match(snapshot, [10.0], [30.0])
    table = catalogue.table()
    return {
        "table": len(table),
        "embeddings": len(catalogue.table(["embedding"], where="mag_r < 1000")),
        "cone": len(catalogue.cone(11.2, 30.2, 10_000, where="is_primary")),
        "neighbours": len(catalogue.neighbours(ra=10.0, dec=30.0, k=10_000)) + 1,
        "rank": len(rank(catalogue, like, method="nearest", k=10_000)),
        "outliers": len(outliers(catalogue, k=10_000)),
        "map": build_map(catalogue, MapSettings("pca")).objects,
        "index": build_index(catalogue).rows,
        "indexed neighbours": len(catalogue.neighbours(ra=10.0, dec=30.0, k=10_000)) + 1,
    }


def replace_column(name, make):
    def change(table):
        return table.set_column(table.schema.get_field_index(name), name, make(table))

    return change


def vectors_of(numbers: int, kind: pa.DataType):
    return lambda t: pa.FixedSizeListArray.from_arrays(pa.array(np.ones(numbers * len(t)), kind), numbers)


CHANGES = {
    "no embedding": lambda t: t.drop_columns(["embedding"]),
    "no ra": lambda t: t.drop_columns(["ra"]),
    "no id": lambda t: t.drop_columns(["object_id"]),
    "no magnitude": lambda t: t.drop_columns(["mag_r"]),
    "no is_primary": lambda t: t.drop_columns(["is_primary"]),
    "no healpix": lambda t: t.drop_columns(["_healpix_29"]),
    "no column": lambda t: t.select([]),
    "id last": lambda t: t.select([*[name for name in t.column_names if name != "object_id"], "object_id"]),
    "id text": replace_column("object_id", lambda t: t["object_id"].cast(pa.string())),
    "id null": replace_column("object_id", lambda t: pa.nulls(len(t), pa.int64())),
    "ra text": replace_column("ra", lambda t: t["ra"].cast(pa.string())),
    "ra float32": replace_column("ra", lambda t: t["ra"].cast(pa.float32())),
    "ra null": replace_column("ra", lambda t: pa.nulls(len(t), pa.float64())),
    "ra nested": replace_column("ra", lambda t: pa.array([{"deg": 1.0}] * len(t))),
    "dec a list": replace_column("dec", lambda t: pa.array([[1.0]] * len(t))),
    "one dec null": replace_column("dec", lambda t: pa.array([None, *t["dec"].to_pylist()[1:]], pa.float64())),
    "magnitude text": replace_column("mag_auto", lambda t: pa.array(["x"] * len(t))),
    "magnitude null": replace_column("mag_auto", lambda t: pa.nulls(len(t), pa.float32())),
    "magnitude of time": replace_column("mag_r", lambda t: pa.array([0] * len(t), pa.timestamp("ns"))),
    "is_primary null": replace_column("is_primary", lambda t: pa.nulls(len(t), pa.bool_())),
    "is_primary numbers": replace_column("is_primary", lambda t: pa.array([1] * len(t))),
    "flags long": replace_column("flags", lambda t: t["flags"].cast(pa.int64())),
    "tile numbers": replace_column("tile", lambda t: pa.array(range(len(t)))),
    "tile of a dictionary": replace_column("tile", lambda t: t["tile"].dictionary_encode()),
    "tile large": replace_column("tile", lambda t: t["tile"].cast(pa.large_string())),
    "embedding of 7": replace_column("embedding", vectors_of(7, pa.float32())),
    "embedding of doubles": replace_column("embedding", vectors_of(DIM, pa.float64())),
    "embedding a list": replace_column("embedding", lambda t: t["embedding"].cast(pa.list_(pa.float32()))),
    "embedding ragged": replace_column("embedding", lambda t: pa.array([[1.0] * (n % 5) for n in range(len(t))])),
    "embedding null": replace_column("embedding", lambda t: pa.nulls(len(t), t.schema.field("embedding").type)),
    "embedding integers": replace_column("embedding", lambda t: t["ra"].cast(pa.int64(), safe=False)),
    "another column": lambda t: t.append_column("more", t["ra"]),
    "a column twice": lambda t: t.append_column("ra", t["ra"]),
    "no rows": lambda t: t.slice(0, 0),
    "half of its rows of another tile": replace_column(
        "tile", lambda t: pa.array(["999.999" if number % 2 else ODD for number in range(len(t))])
    ),
    "healpix off the sky": replace_column("_healpix_29", lambda t: pa.array(np.full(len(t), 2**62))),
    "healpix negative": replace_column("_healpix_29", lambda t: pa.array(np.full(len(t), -7))),
}
ENTRIES = {
    "receipt cut": {b"scanner.run": b"{"},
    "receipt a list": {b"scanner.run": b"[1]"},
    "receipt deep": {b"scanner.run": b"[" * 100_000},
    "receipt not text": {b"scanner.run": b"\xff\xfe"},
    "circle of nothing": {b"scanner.sky": b'{"ra": NaN, "dec": "x", "radius": null}'},
    "circle off the sky": {b"scanner.sky": b'{"ra": 0.0, "dec": 400.0, "radius": 1.0}'},
    "circle elsewhere": {b"scanner.sky": b'{"ra": 11.2, "dec": 0.0, "radius": 1.0}'},
    "circle of no rows": {b"scanner.sky": b"null"},
    "circle of other keys": {b"scanner.sky": b'{"a": 0.0}'},
}
RECEIPTS = {
    "another model": {"model_sha256": "0" * 64},
    "a model that is no text": {"model_sha256": 5},
    "a digest that is no text": {"digest": []},
    "another survey": {"survey": "other"},
    "other bands": {"bands": ["u", "g"]},
    "another choice of rows": {"settings": {"keep": {"best": 5}}},
    "settings that are no table": {"settings": 5, "bands": None},
}


def rewrite(path, change=lambda t: t, entries=None, **options) -> None:
    """Write a tile file as another program does, and keep its receipt: no checksum of the footer stays."""
    table, metadata = pq.read_table(path, partitioning=None), dict(pq.read_metadata(path).metadata)
    for key in (b"ARROW:schema", b"scanner.footer_crc32"):
        metadata.pop(key)
    changed = change(table)
    pq.write_table(changed.replace_schema_metadata({**metadata, **(entries or {})}), path, **options)


def replace(make):
    def damage(path) -> None:
        path.unlink()
        make(path)

    return damage


DAMAGE = {
    **{name: lambda path, change=change: rewrite(path, change) for name, change in CHANGES.items()},
    **{name: lambda path, entry=entry: rewrite(path, entries=entry) for name, entry in ENTRIES.items()},
    "no statistics": lambda path: rewrite(path, write_statistics=False),
    "no receipt": lambda path: pq.write_table(pq.read_table(path).replace_schema_metadata(None), path),
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "text": lambda path: path.write_text("hello"),
    "two magic words": lambda path: path.write_bytes(b"PAR1PAR1"),
    "a length that lies": lambda path: path.write_bytes(b"PAR1" + b"\xff" * 5000 + b"\xff\xff\xff\x7fPAR1"),
    "a folder": replace(lambda path: path.mkdir()),
    "a pipe": replace(lambda path: os.mkfifo(path)),
    "a broken link": replace(lambda path: path.symlink_to("nowhere")),
    "a link to itself": replace(lambda path: path.symlink_to(path.name)),
    "a device": replace(lambda path: path.symlink_to("/dev/zero")),
    "a copy of a neighbour": lambda path: shutil.copy(path.with_name("100.240.parquet"), path),
}


def change_receipt(path, values) -> None:
    receipt = json.loads(pq.read_metadata(path).metadata[b"scanner.run"])
    rewrite(path, entries={b"scanner.run": json.dumps({**receipt, **values}).encode()})


DAMAGE |= {name: lambda path, values=values: change_receipt(path, values) for name, values in RECEIPTS.items()}


@pytest.mark.skipif(sys.platform == "win32", reason="pipes, links and devices of POSIX")
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_an_odd_tile_is_left_out_by_name_in_every_question(catalogue, damage, tmp_path, caplog):
    path = catalogue.tile_path(ODD)
    damage(path)
    questions = answers(catalogue)
    assert set(questions.values()) == {SOUND}, questions
    for number in (0, 2):
        assert f"10{number}.240.parquet cannot" not in caplog.text
    [error] = catalogue.snapshot().errors
    assert (error.code, str(path) in error.message) == ("tile.damaged", True)
    with pytest.raises(ScannerError) as refused:
        hats.publish(catalogue, tmp_path / "archive", hats.Options("unions"))
    assert refused.value.code == "publish.damaged_tile"
    assert ODD in refused.value.message
    if path.is_dir():
        with pytest.raises(ScannerError) as refused:
            catalogue.done(ODD, catalogue_rows.RUN.digest)
        assert refused.value.code == "tile.damaged"
    else:
        assert not catalogue.done(ODD, catalogue_rows.RUN.digest)


def test_a_tile_that_another_program_wrote_in_the_same_form_counts(catalogue):
    """Tile files of earlier versions have no checksums; they stay valid."""
    before = answers(catalogue)
    rewrite(catalogue.tile_path(ODD))
    with catalogue.open_tile(ODD) as file:
        assert not file.has_checksums
    assert answers(catalogue) == before


@pytest.mark.parametrize("column", ["object_id", "ra", "mag_r", "tile", "is_primary", "embedding"])
def test_a_flipped_bit_in_a_page_is_damage_and_not_another_answer(catalogue, column, caplog):
    path = catalogue.tile_path(ODD)
    damage_column(path, column)
    assert len(catalogue.table([column])) == SOUND
    assert f"{path} cannot be read" in caplog.text
    assert catalogue.done(ODD, catalogue_rows.RUN.digest)
    assert not catalogue.done(ODD, catalogue_rows.RUN.digest, verify=True)
    with pytest.raises(ScannerError, match=ODD), catalogue.open_tile(ODD) as file:
        file.verify()


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("column", ["ra", "mag_r", "tile", "_healpix_29", "is_primary"])
def test_a_column_that_only_the_list_shows_leaves_its_tile_out_too(catalogue, column, indexed, caplog):
    """It is read last, of the rows that were found, and must not end the question."""
    if indexed:
        build_index(catalogue)
    damage_column(catalogue.tile_path(ODD), column)
    like = matching.match(catalogue.snapshot(), [10.0], [30.0])
    vector = like.vectors[0]
    for table in (
        catalogue.neighbours(vector=vector, k=1000),
        rank(catalogue, like, method="nearest", k=1000),
        outliers(catalogue, k=1000),
    ):
        assert len(table) == SOUND
        assert ODD not in table["tile"]
    assert f"{ODD}.parquet cannot be read" in caplog.text


def test_a_flipped_bit_in_the_footer_is_damage(catalogue):
    """Statistics, offsets and the circle on the sky decide which rows are read at all."""
    path = catalogue.tile_path(ODD)
    sound = path.read_bytes()
    start = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    rng = np.random.default_rng(1)
    for place in [*rng.integers(start, len(sound) - 8, 60).tolist(), *range(len(sound) - 8, len(sound))]:
        flip_bytes(path, range(place, place + 1))
        with pytest.raises(ScannerError) as refused:
            catalogue.rows(ODD)
        assert refused.value.code == "tile.damaged"
        path.write_bytes(sound)
    assert catalogue.rows(ODD) == 120


def test_no_flipped_bit_of_a_page_gives_another_answer(catalogue):
    path = catalogue.tile_path(ODD)
    sound, whole = path.read_bytes(), catalogue.table(catalogue.schema.names)
    start = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    places = np.random.default_rng(2).integers(4, start, 150).tolist()
    for place in places:
        flip_bytes(path, range(place, place + 1))
        table = catalogue.table(catalogue.schema.names)
        # The header of a page has no checksum, but what it says is either wrong or unused.
        assert len(table) == SOUND or all(np.array_equal(table[name], whole[name]) for name in table.colnames)
        path.write_bytes(sound)


@pytest.mark.parametrize("copy", ["101.240 (copy)", "101.240-old", "999.999", "1e5"])
def test_a_copy_under_another_name_does_not_count(catalogue, copy, caplog):
    shutil.copy(catalogue.tile_path(ODD), catalogue.path / "tiles" / f"{copy}.parquet")
    assert len(catalogue.table(["object_id"])) == SOUND + 120
    assert f"{copy}.parquet cannot be read: its rows are those of tile {ODD}" in caplog.text
    assert "Remove it" in caplog.text


def test_a_name_that_no_text_can_hold_is_left_out(catalogue):
    shutil.copy(catalogue.tile_path(ODD), os.fsencode(catalogue.path / "tiles") + b"/\xff\xfe.parquet")
    assert len(catalogue.table(["object_id"])) == SOUND + 120
    assert len(catalogue.snapshot().errors) == 1


def test_what_a_footer_was_compared_with_is_kept_beside_it(catalogue, monkeypatch):
    """A cached footer is believed, so one of an edited catalogue must not be."""
    monkeypatch.setattr("catalogs.store.footers._WORTH_SAVING", 1)
    assert len(catalogue.snapshot().footers) == 3
    path = catalogue.path / "catalogue.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "bands": ["u", "g"]}))
    snapshot = catalogs.open(catalogue.path).snapshot()
    assert (len(snapshot.footers), len(snapshot.errors)) == (0, 3)


@pytest.mark.parametrize(
    "text", ["", "[", "[" * 100_000, "5", "null", "[[]]", '["x", 5]', '{"a": 1}', '[["200.290", 1]]']
)
def test_a_damaged_cache_of_footers_is_read_anew(catalogue, text):
    (catalogue.path / "index").mkdir(exist_ok=True)
    (catalogue.path / "index" / "footers.json").write_text(text)
    assert len(catalogue.table(["object_id"])) == SOUND + 120


def drop(file, path, monkeypatch) -> None:
    """Make the next use of an open file the error of one that the server of a network disk has forgotten."""

    def forgotten(*group, **columns):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    lost = pq.ParquetFile(path)
    monkeypatch.setattr(lost, "read_row_group", forgotten)
    file._parquet = lost


@pytest.mark.parametrize(
    "read",
    [
        lambda file: sum(len(part) for part in file.groups(["ra", "embedding"])),
        lambda file: sum(len(here) for _, _, here in file.groups_beside_vectors(["ra"])),
        lambda file: len(file.take(["ra"], np.arange(120))),
    ],
)
def test_an_idle_file_that_a_network_disk_dropped_is_opened_again(catalogue, read, monkeypatch):
    path, snapshot = catalogue.tile_path("100.240"), catalogue.snapshot()
    with snapshot.open(snapshot.footers[0]) as file:
        drop(file, path, monkeypatch)
        assert read(file) == 120
        drop(file, path, monkeypatch)
        with pytest.raises(ScannerError, match="Stale"):
            read(file)


def test_an_idle_file_that_was_replaced_and_dropped_is_read_as_it_is_now(catalogue, monkeypatch):
    path, snapshot = catalogue.tile_path("100.240"), catalogue.snapshot()
    with snapshot.open(snapshot.footers[0]) as file:
        catalogue_rows.write(catalogue, "100.240", catalogue_rows.make(100240, [10.0], [30.0]))
        drop(file, path, monkeypatch)
        assert sum(len(part) for part in file.groups(["ra"])) == 1


def test_a_file_that_was_replaced_while_it_was_idle_is_opened_again(catalogue):
    snapshot = catalogue.snapshot()
    with snapshot.open(snapshot.footers[0]) as file:
        first = file
    catalogue_rows.write(catalogue, "100.240", catalogue_rows.make(100240, [10.0], [30.0]))
    with snapshot.open(snapshot.footers[0]) as file:
        assert file is not first
        assert sum(len(part) for part in file.groups(["ra"])) == 1
