"""`scan-tiles --precision`: says once what it costs, says so in the catalogue, and keeps formats apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import catalogs
from tests.end_to_end.conftest import Scanner
from tests.support import small_tiles, tiny_encoder

FIDELITY = {"centred_cosine": 0.9987, "least_centred_cosine": 0.9962, "neighbour_overlap": 0.979, "windows": 512}
POSITION = 3


def test_a_catalogue_is_of_one_format_and_says_which(scanner: Scanner, tmp_path: Path) -> None:
    said = tiny_encoder.contract()
    model = tiny_encoder.write(tmp_path / "model" / "encoder.onnx", said)
    small = replace(said, precision="int8", fidelity=FIDELITY)
    tiny_encoder.write(tmp_path / "model" / "encoder_int8.onnx", small, seed=2)
    small_tiles.write(tmp_path / "tiles", "200.292", size=200, objects=12)
    (tmp_path / "list.txt").write_text("200.292\n")
    command = ("scan-tiles", "--tiles", tmp_path / "list.txt", "--root", tmp_path / "tiles", "--model", model)

    done = scanner(*command, "--precision", "int8", "--readers", "0", "--out", tmp_path / "small", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.err.count("int8: centred cosine with fp32 0.9987 (least 0.9962), 97.9%") == 1
    info = catalogs.open(tmp_path / "small").info
    assert info.contract["precision"] == "int8"
    assert info.contract["fidelity"]["neighbour_overlap"] == 0.979
    receipt = next(iter(catalogs.open(tmp_path / "small").snapshot().footers))
    assert receipt.rows > 0

    for other in ((), ("--precision", "fp32")):  # the default is exact
        mixed = scanner(*command, *other, "--out", tmp_path / "small", cwd=tmp_path)
        assert mixed.code == 1
        assert "[catalogue.other_model]" in mixed.err
        assert "(int8, sha256" in mixed.err
        assert "(fp32, sha256" in mixed.err

    exact = scanner(*command, "--readers", "0", "--out", tmp_path / "exact", cwd=tmp_path)
    assert exact.code == 0
    assert "centred cosine" not in exact.err
    facts = json.loads((tmp_path / "exact" / "catalogue.json").read_text())
    assert facts["contract"]["precision"] == "fp32"

    table = catalogs.open(tmp_path / "small").table()  # a question of pixels is embedded in the catalogue's own format
    at = ("--ra", str(float(table["ra"][POSITION])), "--dec", str(float(table["dec"][POSITION]) + 3 / 3600))
    asked = scanner(
        "query", *at, "--radius", "0.1", "--catalog", tmp_path / "small", "--model", model, "--root",
        tmp_path / "tiles", cwd=tmp_path,
    )  # fmt: skip
    assert asked.code == 0, asked.err

    absent = scanner(*command, "--precision", "fp16", "--out", tmp_path / "half", cwd=tmp_path)
    assert absent.code == 1
    assert "[model.no_precision]" in absent.err
    assert not (tmp_path / "half").exists()
