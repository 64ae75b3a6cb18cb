"""The examples in the docstrings of ``Catalogue`` run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from catalogs import catalogue as module
from catalogs.catalogue import Catalogue
from catalogs.sky.geometry import Circle

EXAMPLES = [test for test in doctest.DocTestFinder().find(module) if test.examples]


def test_every_question_has_an_example() -> None:
    named = {test.name.rsplit(".", 1)[-1] for test in EXAMPLES}
    assert {"Catalogue", "table", "cone", "neighbours", "open"} <= named


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name.rsplit(".", 1)[-1])
def test_the_example_of(example: doctest.DocTest, survey: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = survey.path
    assert folder.name == "embeddings"
    monkeypatch.chdir(folder.parent)
    outcome = doctest.DocTestRunner().run(example)
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


def test_footers_tell_rows_and_place_of_each_tile(survey: Catalogue) -> None:
    footers = survey.footers()
    assert [(one.tile, one.rows) for one in footers] == [(tile, survey.rows(tile)) for tile in survey.tiles()]
    for one in footers:
        assert one.circle is not None
        assert one in survey.footers(one.circle)
    far = Circle((footers[0].circle.ra + 180) % 360, -footers[0].circle.dec, 1.0)  # type: ignore[union-attr]
    assert not survey.footers(far)
