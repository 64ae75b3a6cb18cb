"""The guide of a whole search, from tiles to lens models, run on the shipped tile; its release is read as a referee."""

from __future__ import annotations

from tests.docs.pages import REPOSITORY
from tests.docs.test_pages import Run, demo_catalogue, run

__all__ = ["demo_catalogue", "run"]  # fixtures

PAGE = REPOSITORY / "docs" / "guide" / "whole-search.md"


def test_the_guide_runs(run: Run) -> None:
    _, names = run(PAGE)
    assert names["given"]
