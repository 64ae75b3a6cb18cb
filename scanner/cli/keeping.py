"""Options of a scan that stores only what looks most like examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from scanner.encoder.encoder import Encoder
    from scanner.scan.best_rows import Keep
    from scanner.survey.survey import Survey


class BestOf(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """``best:N``."""

    name = "best:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from scanner.scan.best_rows import parse

        try:
            return parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def kept(
    best: int | None, like: Path | None, catalog: Path | None, survey: Survey, encoder: Encoder, root: str
) -> Keep | None:
    """What the options ask to keep, None for all rows."""
    if best is None and like is None and catalog is None:
        return None
    if best is None or like is None:
        raise click.UsageError("--keep and --like go together (--like-catalog with both): best:N of what is like FILE.")
    import catalogs
    from scanner.queries import keep_weights

    if catalog is not None:
        return keep_weights.from_catalogue(best, like, catalogs.open(catalog), encoder)
    if not Path(root).is_dir():
        raise click.UsageError("Examples are embedded from a --root that is a folder; else give --like-catalog.")
    return keep_weights.by_pixels(best, like, survey, encoder, Path(root))
