"""A catalogue keeps what was written, knows what is done, and never mixes two models."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import catalogs
from catalogs.errors import ScannerError
from catalogs.store.schema import catalogue_schema


def test_create_then_open_gives_the_same_catalogue(tmp_path, run):
    made = catalogs.create(tmp_path / "new" / "embeddings", run)
    opened = catalogs.open(tmp_path / "new" / "embeddings")
    assert opened.info == made.info
    assert (opened.info.survey, opened.info.bands, opened.info.model) == ("unions", ("u", "g", "r"), "small")
    assert opened.info.dim == 16
    assert opened.info.software.startswith("unions-scanner")
    assert opened.tiles() == []


def test_creating_it_again_keeps_what_is_there(survey, run):
    before = (survey.path / "catalogue.json").read_bytes()
    assert catalogs.create(survey.path, run).tiles() == survey.tiles()
    assert (survey.path / "catalogue.json").read_bytes() == before


def test_another_model_is_refused_and_both_are_named(catalogue, run):
    other = dataclasses.replace(run, model="large", model_sha256="b" * 64)
    with pytest.raises(ScannerError) as refused:
        catalogs.create(catalogue.path, other)
    assert refused.value.code == "catalogue.other_model"
    assert "small" in refused.value.message
    assert "large" in refused.value.message
    assert "--out" in refused.value.hint
    with pytest.raises(ScannerError) as refused:
        catalogue.writer("1.1", other)
    assert refused.value.code == "catalogue.other_model"


def test_another_survey_is_refused(catalogue, run):
    with pytest.raises(ScannerError) as refused:
        catalogs.create(catalogue.path, dataclasses.replace(run, bands=("g", "r")))
    assert refused.value.code == "catalogue.other_survey"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"survey": "unions"}', "null"])
def test_a_damaged_catalogue_json_is_named(catalogue, content):
    (catalogue.path / "catalogue.json").write_text(content)
    with pytest.raises(ScannerError) as refused:
        catalogs.open(catalogue.path)
    assert refused.value.code == "catalogue.damaged"
    assert "catalogue.json" in refused.value.message


def test_a_missing_catalogue_is_named(tmp_path, run):
    with pytest.raises(ScannerError) as refused:
        catalogs.open(tmp_path / "nowhere")
    assert refused.value.code == "catalogue.missing"
    (tmp_path / "file").write_text("")
    with pytest.raises(ScannerError) as refused:
        catalogs.create(tmp_path / "file", run)
    assert refused.value.code == "catalogue.damaged"


def test_the_digest_is_of_what_makes_rows_and_not_of_the_models_name(run):
    assert run.digest == dataclasses.replace(run, model="/elsewhere/encoder.onnx").digest
    assert run.digest != dataclasses.replace(run, settings={"min_snr": 6.0}).digest
    assert run.digest != dataclasses.replace(run, model_sha256="b" * 64).digest
    assert run.digest != dataclasses.replace(run, contract={"embedding_dim": 16, "window": 32}).digest


def test_done_is_for_this_digest_only(survey, run):
    assert survey.done("100.240", run.digest)
    assert survey.rows("100.240") == 300
    assert not survey.done("100.240", "0" * 64)
    assert not survey.done("999.240", run.digest)


@pytest.mark.parametrize("keep", [0, 3, 4, 1000, -1])
def test_a_truncated_file_is_not_done_and_questions_go_on_without_it(survey, run, keep, caplog):
    path = survey.tile_path("100.240")
    path.write_bytes(path.read_bytes()[:keep])
    assert not survey.done("100.240", run.digest)
    assert len(survey.table(["object_id"])) == 1500
    assert "100.240" in caplog.text


def test_a_tile_damaged_inside_is_named_and_left_out(survey, caplog):
    path = survey.tile_path("100.240")
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    assert len(survey.table(["ra", "embedding"])) == 1500
    assert "echo 100.240 | scanner scan-tiles --verify" in caplog.text


def test_a_tile_of_another_model_is_left_out_with_a_warning(survey, run, make_rows, tmp_path, caplog):
    other_run = dataclasses.replace(run, model_sha256="b" * 64)
    other = catalogs.create(tmp_path / "other", other_run)
    with other.writer("500.240", other_run) as writer:
        writer.write(make_rows(500, [1.0], [2.0]))
    other.tile_path("500.240").rename(survey.tile_path("500.240"))
    assert len(survey.table(["object_id"])) == 1800
    assert "500.240" in caplog.text


def test_columns_come_back_as_written(catalogue, write_tile, make_rows):
    rows = make_rows(217292, np.linspace(10, 10.4, 50), np.linspace(-5, -4.6, 50))
    write_tile(catalogue, "217.292", rows)
    table = catalogue.table([*catalogue.schema.names])
    assert table.colnames == catalogue_schema(("u", "g", "r"), 16).names
    for name in set(rows) - {"embedding"}:
        assert np.array_equal(table[name], rows[name]), name
    assert np.allclose(table["embedding"], rows["embedding"], rtol=2**-11, atol=0)
    assert set(table["tile"]) == {"217.292"}
    assert (table["ra"].unit, table["flux_g"].unit, table["a"].unit) == ("deg", "nJy", "arcsec")


def test_healpix_is_of_order_29_nested(survey):
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy_healpix import HEALPix

    table = survey.table(["ra", "dec", "_healpix_29"])
    grid = HEALPix(nside=2**29, order="nested", frame="icrs")
    expected = grid.skycoord_to_healpix(SkyCoord(table["ra"], table["dec"], unit=units.deg))
    assert np.array_equal(table["_healpix_29"], expected)


def test_the_bytes_do_not_depend_on_batches_or_time(catalogue, run, make_rows, tmp_path):
    rows = make_rows(1, np.linspace(0, 1, 1000), np.linspace(0, 1, 1000))
    contents = []
    for batch, home in ((1000, "a"), (64, "b"), (1, "c")):
        other = catalogs.create(tmp_path / home, run)
        with other.writer("1.1", run, {"sources": "detect"}) as writer:
            for start in range(0, 1000, batch):
                writer.write({name: values[start : start + batch] for name, values in rows.items()})
        contents.append(other.tile_path("1.1").read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_row_groups_are_full_however_rows_come(catalogue, run, make_rows, monkeypatch):
    monkeypatch.setattr("catalogs.store.tile_writer.ROW_GROUP", 100)
    rows = make_rows(1, np.linspace(0, 1, 330), np.linspace(0, 1, 330))
    with catalogue.writer("1.1", run) as writer:
        for start, stop in ((0, 70), (70, 320), (320, 330)):
            writer.write({name: values[start:stop] for name, values in rows.items()})
    found = pq.read_metadata(catalogue.tile_path("1.1"))
    assert [found.row_group(group).num_rows for group in range(found.num_row_groups)] == [100, 100, 100, 30]
    assert np.array_equal(catalogue.table(["object_id"])["object_id"], rows["object_id"])
    one = rows["object_id"][215]
    assert list(catalogue.table(["object_id"], where=f"object_id == {one}")["object_id"]) == [one]
    assert len(catalogue.neighbours(object_id=int(one), k=500)) == 329


def test_a_tile_without_objects_is_a_tile(survey, run):
    with survey.writer("200.240", run):
        pass
    assert survey.done("200.240", run.digest)
    assert "200.240" in survey.tiles()
    assert len(survey.table(["ra"])) == 1800
    assert len(survey.cone(0.0, 30.2, 3600)) > 0
    assert len(survey.neighbours(object_id=100_000_000, k=3)) == 3


def test_an_empty_catalogue_answers_with_empty_tables(catalogue):
    table = catalogue.table()
    assert len(table) == 0
    assert "embedding" not in table.colnames
    assert table["ra"].unit == "deg"
    assert len(catalogue.cone(10, 10, 60)) == 0
    assert len(catalogue.neighbours(vector=np.ones(16))) == 0


def test_the_receipt_is_in_the_footer(catalogue, run, make_rows):
    with catalogue.writer("1.1", run, {"bands_found": ["u", "r"]}) as writer:
        writer.write(make_rows(1, [10.0], [20.0]))
    metadata = pq.read_metadata(catalogue.tile_path("1.1")).metadata
    receipt = json.loads(metadata[b"scanner.run"])
    assert receipt["digest"] == run.digest
    assert receipt["model_sha256"] == run.model_sha256
    assert receipt["extra"] == {"bands_found": ["u", "r"]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ra": None}, "ra"),
        ({"flux_u": None}, "flux_u"),
        ({"colour": np.ones(3)}, "colour"),
        ({"snr": np.ones(4)}, "snr"),
        ({"embedding": np.ones((3, 8), np.float32)}, "shape"),
        ({"embedding": np.ones((2, 16), np.float32)}, "embedding"),
    ],
)
def test_columns_that_do_not_fit_are_named_and_leave_no_file(catalogue, run, make_rows, change, named):
    rows = {
        name: value for name, value in {**make_rows(1, [1, 2, 3], [1, 2, 3]), **change}.items() if value is not None
    }
    with pytest.raises(ValueError, match=named), catalogue.writer("1.1", run) as writer:
        writer.write(rows)
    assert list((catalogue.path / "tiles").iterdir()) == []


def test_an_exception_in_the_scan_leaves_the_old_file(survey, run, make_rows):
    before = survey.tile_path("100.240").read_bytes()

    def scan_that_fails() -> None:
        with survey.writer("100.240", run) as writer:
            writer.write(make_rows(1, [1.0], [2.0]))
            raise RuntimeError("a bug in the scan")

    with pytest.raises(RuntimeError, match="a bug in the scan"):
        scan_that_fails()
    assert survey.tile_path("100.240").read_bytes() == before
    assert all(path.suffix == ".parquet" for path in (survey.path / "tiles").iterdir())


def test_failures_are_counted_and_forgotten(catalogue):
    catalogue.record_failure("217.292", "tile.all_nan", "No band has data.", "Check the files.")
    catalogue.record_failure("217.292", "tile.missing_file", "No file.", "Check --root.")
    catalogue.record_failure("218.292", "tile.all_nan", "No band has data.")
    first, second = catalogue.failures()
    assert (first.tile, first.code, first.attempts) == ("217.292", "tile.missing_file", 2)
    assert (second.tile, second.attempts) == ("218.292", 1)
    catalogue.clear_failure("217.292")
    catalogue.clear_failure("217.292")
    assert [failure.tile for failure in catalogue.failures()] == ["218.292"]


@pytest.mark.parametrize("name", ["", "../other", "a/b", ".hidden"])
def test_names_that_leave_the_folder_are_refused(catalogue, name):
    with pytest.raises(ScannerError) as refused:
        catalogue.tile_path(name)
    assert refused.value.code == "tile.bad_name"


def test_no_column_is_an_arrow_dictionary(survey):
    schema = pq.read_schema(survey.tile_path("100.240"))
    assert not any(pa.types.is_dictionary(field.type) for field in schema)


def test_a_folder_whose_name_is_not_utf8_is_refused(tmp_path, run):
    folder = tmp_path / os.fsdecode(b"b\xe9ta[1]")
    with pytest.raises(ScannerError) as refused:
        catalogs.create(folder, run)
    assert refused.value.code == "output.bad_name"
    assert not folder.exists()
