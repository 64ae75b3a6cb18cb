"""Maps: neighbours in the embedding are neighbours on the map, coordinates lie beside the rows, new tiles join in."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs.errors import ScannerError
from catalogs.maps import projections
from catalogs.maps.build import build_map
from catalogs.maps.read import MapSettings, list_maps, read_map
from tests.support.damage import damage_column

DIM = 16
KINDS = 3


def vectors_of(kind: np.ndarray, seed: int) -> np.ndarray:
    """Embeddings around one of three directions."""
    middles = 3 * np.random.default_rng(1).normal(size=(KINDS, DIM))
    vectors = middles[kind] + np.random.default_rng(seed).normal(size=(len(kind), DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def three_kinds(catalogue, make_rows, write_tile):
    """Two tiles of 150 objects of three kinds, told by ``flags``; some rows do not count, one has no vector."""
    for number in (1, 2):
        add_tile(catalogue, number, make_rows, write_tile)
    return catalogue


def add_tile(catalogue, number, make_rows, write_tile) -> None:
    kind = np.arange(150) % KINDS
    ra, dec = 10 * number + np.linspace(0, 0.4, 150), np.linspace(20, 20.4, 150)
    embedding = vectors_of(kind, number)
    rows = make_rows(number, ra, dec, embedding, flags=kind, is_primary=np.arange(150) % 10 != 0)
    rows["embedding"][7] = np.nan
    write_tile(catalogue, f"{number}.1", rows)


def purity(places: np.ndarray, kind: np.ndarray) -> float:
    """How often the nearest object on the map is of the same kind."""
    away = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(away, np.inf)
    return float(np.mean(kind[away.argmin(axis=1)] == kind))


@pytest.mark.parametrize(("method", "library"), [("pca", "numpy"), ("tsne", "openTSNE"), ("umap", "umap")])
@pytest.mark.filterwarnings("ignore")
def test_objects_of_a_kind_lie_together_fitted_or_placed(three_kinds, method, library) -> None:
    pytest.importorskip(library, reason="needs the extra [maps]")
    report = build_map(three_kinds, MapSettings(method, sample=120, seed=3))
    assert (report.fitted, report.placed, report.objects) == (120, 2, 2 * 134)
    table = read_map(three_kinds, method, ["flags"])
    places = np.stack([table[f"{method}_x"], table[f"{method}_y"]], axis=1)
    assert len(table) == report.objects
    assert purity(places, np.asarray(table["flags"])) > 0.95
    again = build_map(three_kinds, MapSettings(method, sample=120, seed=3), refit=True)
    assert again.placed == 0  # the same sample and seed made the same map, bit by bit


def test_coordinates_lie_row_by_row_beside_the_tile(three_kinds) -> None:
    before = three_kinds.tile_path("1.1").read_bytes()
    build_map(three_kinds, MapSettings("pca"), "overview")
    beside = pq.read_table(three_kinds.path / "maps" / "overview" / "tiles" / "1.1.parquet")
    tile = pq.read_table(three_kinds.tile_path("1.1"))
    assert beside.column_names == ["object_id", "overview_x", "overview_y"]
    assert beside["object_id"].to_pylist() == tile["object_id"].to_pylist()
    on_it = np.isfinite(beside["overview_x"].to_numpy())
    expected = tile["is_primary"].to_numpy()
    expected[7] = False  # it has no vector
    assert np.array_equal(on_it, expected)
    assert three_kinds.tile_path("1.1").read_bytes() == before
    assert list_maps(three_kinds) == ["overview"]


def test_a_new_tile_joins_a_map_that_stays_what_it_was(three_kinds, make_rows, write_tile) -> None:
    build_map(three_kinds, MapSettings("pca", sample=100))
    before = read_map(three_kinds, "pca")
    add_tile(three_kinds, 3, make_rows, write_tile)
    report = build_map(three_kinds, MapSettings("pca", sample=100))
    assert (report.placed, report.kept) == (1, 2)
    after = read_map(three_kinds, "pca")
    assert len(after) == len(before) + 134
    assert np.array_equal(after["pca_x"][: len(before)], before["pca_x"])
    other = build_map(three_kinds, MapSettings("pca", sample=100, where="flags == 1"))
    assert (other.placed, other.objects) == (3, 3 * 49)  # another plan is another map


def test_a_tile_that_changed_is_left_out_until_it_is_placed_again(three_kinds, make_rows, write_tile, caplog) -> None:
    build_map(three_kinds, MapSettings("pca"))
    write_tile(three_kinds, "1.1", make_rows(1, [10.0, 10.1], [20.0, 20.1]))
    assert len(read_map(three_kinds, "pca")) == 134
    assert "1.1 is not on the map" in caplog.text
    assert build_map(three_kinds, MapSettings("pca")).placed == 1
    assert len(read_map(three_kinds, "pca")) == 136


def test_tables_of_a_map_can_be_chosen_from_and_thinned(three_kinds) -> None:
    build_map(three_kinds, MapSettings("pca"))
    whole = read_map(three_kinds, "pca", ["mag_r", "ra"])
    assert whole.colnames == ["object_id", "pca_x", "pca_y", "mag_r", "ra"]
    assert whole["ra"].unit == "deg"
    bright = read_map(three_kinds, "pca", filter_text="mag_r < 10 and is_primary")
    assert 0 < len(bright) == np.sum(whole["mag_r"] < 10)
    assert 60 < len(read_map(three_kinds, "pca", limit=100)) < 140


def test_a_limit_counts_what_is_on_the_map(three_kinds) -> None:
    some = build_map(three_kinds, MapSettings("pca", where="flags == 0"), "some").objects
    assert some < 150
    assert len(read_map(three_kinds, "some", limit=some)) == some


def test_where_an_object_is_placed_depends_on_nothing_but_the_sample() -> None:
    """Not on the batch it comes in; a fitted object's copy falls on it."""
    kind = np.arange(200) % KINDS
    sample, others = vectors_of(kind, 1), vectors_of(kind, 2)
    places = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    place = projections.Placer(sample, places, "umap")
    together = place(others)
    one_by_one = np.concatenate([place(other[None]) for other in others])
    np.testing.assert_allclose(one_by_one, together, atol=1e-4)
    own = projections.Placer(sample, np.stack([kind, kind], axis=1).astype(np.float32), "tsne")(others)
    assert np.mean(np.rint(own[:, 0]) == kind) > 0.97


def test_principal_components_are_those_of_the_singular_values() -> None:
    sample = vectors_of(np.arange(90) % KINDS, 4)
    seen = projections.find_components(sample, 4)(sample)
    _, _, expected = np.linalg.svd(sample - sample.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(seen), np.abs((sample - sample.mean(axis=0)) @ expected[:4].T), atol=1e-5)


def code_of(catalogue, settings: MapSettings, name: str | None = None) -> str:
    with pytest.raises(ScannerError) as refused:
        build_map(catalogue, settings, name)
    assert refused.value.hint
    return refused.value.code


def test_what_cannot_be_mapped_is_said(three_kinds, monkeypatch) -> None:
    assert code_of(three_kinds, MapSettings("pca"), "a/b") == "map.bad_name"
    assert code_of(three_kinds, MapSettings("lda")) == "map.bad_method"
    assert code_of(three_kinds, MapSettings("pca", where="flags > 100")) == "map.too_few"
    assert code_of(three_kinds, MapSettings("pca", where="nothing > 1")) == "where.column"
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    assert code_of(three_kinds, MapSettings("umap")) == "map.not_installed"
    with pytest.raises(ScannerError) as refused:
        read_map(three_kinds, "umap")
    assert refused.value.code == "map.missing"


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def replace_by_folder(path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_pipe(path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        replace_by_pipe,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("{}"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: pq.write_table(pa.table({"a": [1]}), path),
        lambda path: path.unlink(),
    ],
    ids=["cut", "pipe", "empty", "list", "table", "deep", "other", "gone"],
)
@pytest.mark.parametrize("file", ["map.json", "sample.parquet"])
def test_a_damaged_map_is_named_and_made_anew_by_refit(three_kinds, file, damage) -> None:
    """The fit is not replaced in silence: coordinates of an earlier figure would have another meaning."""
    settings = MapSettings("pca")
    build_map(three_kinds, settings)
    path = three_kinds.path / "maps" / "pca" / file
    before = path.read_bytes()
    damage(path)
    if not (file == "map.json" and not path.exists()):  # without it the map was never finished
        with pytest.raises(ScannerError) as refused:
            build_map(three_kinds, settings)
        assert refused.value.code == "map.damaged"
        assert str(path) in refused.value.message
        assert "--refit" in refused.value.hint
    again = build_map(three_kinds, settings, refit=True)
    assert (again.placed, again.kept) == (0, 2)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [cut, flip, lambda path: pq.write_table(pa.table({"a": [1]}), path)])
def test_a_damaged_tile_of_a_map_is_left_out_by_name_and_made_anew_by_refit(three_kinds, damage, caplog) -> None:
    settings = MapSettings("pca")
    report = build_map(three_kinds, settings)
    path = sorted((three_kinds.path / "maps" / "pca" / "tiles").iterdir())[0]
    before = path.read_bytes()
    damage(path)
    assert len(read_map(three_kinds, "pca")) == report.objects // 2
    assert path.stem in caplog.text
    assert build_map(three_kinds, settings, refit=True).placed == 1
    assert path.read_bytes() == before
    assert len(read_map(three_kinds, "pca")) == report.objects


def test_a_flipped_bit_in_the_sample_of_a_map_is_noticed(three_kinds) -> None:
    build_map(three_kinds, MapSettings("pca"))
    flip(three_kinds.path / "maps" / "pca" / "sample.parquet")
    assert code_of(three_kinds, MapSettings("pca")) == "map.damaged"


def test_a_folder_in_the_place_of_a_map_has_a_code(three_kinds) -> None:
    build_map(three_kinds, MapSettings("pca"))
    replace_by_folder(three_kinds.path / "maps" / "pca" / "map.json")
    assert code_of(three_kinds, MapSettings("pca")) == "map.damaged"
    with pytest.raises(ScannerError) as refused:
        build_map(three_kinds, MapSettings("pca"), refit=True)
    assert refused.value.code == "output.read_only"


def test_a_damaged_tile_is_left_off_the_map_until_it_is_scanned_again(three_kinds, caplog) -> None:
    path = sorted((three_kinds.path / "tiles").iterdir())[0]
    sound = path.read_bytes()
    damage_column(path, "embedding")
    report = build_map(three_kinds, MapSettings("pca"))
    assert (report.placed, report.objects) == (1, 134)
    assert path.stem in caplog.text
    path.write_bytes(sound)
    assert build_map(three_kinds, MapSettings("pca")).placed == 1
