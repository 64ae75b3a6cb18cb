"""A spot that is no object of the catalogue has the lens score that a scan would have given it."""

from __future__ import annotations

from pathlib import Path

import catalogs
from catalogs.sky import unions_grid
from catalogs.store.scores import Scores
from scanner.encoder.encoder import Encoder
from scanner.queries import examples
from scanner.queries.query import Position, QueryBuilder
from scanner.scan.options import ScanOptions
from scanner.scan.run import make_run
from scanner.survey import survey
from tests.support import small_tiles, tiny_encoder


def test_a_spot_has_the_score_of_the_model(tmp_path: Path) -> None:
    small_tiles.write(tmp_path, "200.292", size=300, objects=5)
    contract = tiny_encoder.contract(scores=Scores(("lens", "ring"), 0.001, "made-up objects"))
    with Encoder(tiny_encoder.write(tmp_path / "encoder.onnx", contract), "cpu", threads=1) as encoder:
        filled = catalogs.create(
            tmp_path / "embeddings", make_run(survey.load("unions"), encoder, ScanOptions(readers=0))
        )
        builder = QueryBuilder(filled.snapshot(), root=tmp_path, model=str(encoder.path), device="cpu")
        ra, dec = unions_grid.centre("200.292")
        spot = builder.spot(Position(ra, dec, "spot"))
        assert spot.pixels is not None
        assert spot.score == encoder.encode(spot.pixels[None]).scores[0, 0]
    (tmp_path / "like.csv").write_text(f"ra,dec\n{ra},{dec}\n")
    read = examples.read(tmp_path / "like.csv", builder)
    assert read.score.tolist() == [spot.score]
