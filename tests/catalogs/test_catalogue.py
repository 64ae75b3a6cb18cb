"""The examples in the docstrings of ``Catalogue`` run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from catalogs import catalogue as module
from catalogs.catalogue import Catalogue

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
