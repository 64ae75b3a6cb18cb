"""A catalogue for viewers of embeddings: every object once in one file, or a sample in lines that belong together."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.maps.build import build_map
from catalogs.maps.read import MapSettings, read_map
from catalogs.viewers import write_atlas, write_projector


def test_atlas_has_every_object_once_with_its_embedding(survey: Catalogue, tmp_path: Path) -> None:
    written = write_atlas(survey, tmp_path / "objects.parquet", "mag_r < 20")
    table = pq.read_table(tmp_path / "objects.parquet")
    expected = survey.table(["object_id", "ra", "embedding"], where="is_primary and mag_r < 20")
    assert written.objects == len(table) == len(expected)
    assert table.column("object_id").to_pylist() == expected["object_id"].tolist()
    assert pa.types.is_list(table.schema.field("embedding").type)
    assert np.allclose(table.column("embedding").to_pylist(), np.asarray(expected["embedding"]), atol=1e-3)
    assert "_healpix_29" not in table.column_names


def test_atlas_takes_the_places_of_a_map(survey: Catalogue, tmp_path: Path) -> None:
    build_map(survey, MapSettings("pca"))
    write_atlas(survey, tmp_path / "objects.parquet", name="pca")
    table = pq.read_table(tmp_path / "objects.parquet")
    placed = read_map(survey, "pca", [])
    by_id = dict(zip(placed["object_id"].tolist(), placed["pca_x"].tolist(), strict=True))
    assert [by_id[one] for one in table.column("object_id").to_pylist()] == table.column("projection_x").to_pylist()


def test_lines_of_the_projector_belong_together(survey: Catalogue, tmp_path: Path) -> None:
    written = write_projector(survey, tmp_path / "out", most=50, seed=3)
    assert written.objects == 50
    matrix = np.loadtxt(tmp_path / "out" / "vectors.tsv", delimiter="\t")
    with (tmp_path / "out" / "metadata.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    every = survey.table(["object_id", "embedding"])
    by_id = dict(zip(every["object_id"].tolist(), np.asarray(every["embedding"]), strict=True))
    for row, vector in zip(rows, matrix, strict=True):
        assert np.dot(by_id[int(row["object_id"])], vector) == pytest.approx(1, abs=1e-3)
    (told,) = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["embeddings"]
    assert told["tensorShape"] == list(matrix.shape)
    assert {told["tensorPath"], told["metadataPath"]} == {"vectors.tsv", "metadata.tsv"}


def test_nothing_to_view_is_refused_and_leaves_no_file(survey: Catalogue, tmp_path: Path) -> None:
    for write in (write_atlas, write_projector):
        with pytest.raises(ScannerError) as error:
            write(survey, tmp_path / "out", "mag_r < -5")
        assert error.value.code == ErrorCode.VIEWERS_NOTHING
    with pytest.raises(ScannerError) as error:
        write_atlas(survey, tmp_path / "out", name="none")
    assert error.value.code == ErrorCode.MAP_MISSING
    assert not (tmp_path / "out").exists()
