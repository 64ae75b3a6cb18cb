"""``python -m studies.lens_score``: what the lens score finds and misses among real lenses, and how pure that would be.

It writes two galleries (the lenses of lowest score, the other objects of highest score) and a table of thresholds.
Shares of other galaxies and purity are those of images that no model was trained on: what was seen as an ordinary
object in training scores lower than what a survey holds.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from catalogs.atomic import write_json, write_text
from catalogs.estimate import Share
from catalogs.sky.unions_grid import PIXEL_SCALE
from catalogs.text_table import markdown_table
from scanner.encoder.contract import resolve
from scanner.figures.gallery import Panel, draw_gallery
from scanner.survey.bands import BANDS
from scanner.system.output_path import OUTPUT_FOLDER
from scanner.windows.by_position import Window
from scanner.windows.frame import WindowFrame
from training.evaluate.models import OnnxEncoder
from training.evaluate.sets.lenses import LabelledWindows, central, load_lenses

SHOWN = 10
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of the lenses at whose scores thresholds are set."""
PREVALENCES = (1e-2, 1e-3, 1e-4)
"""Shares of lenses among the objects that are ranked."""

Floats = NDArray[np.float64]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=OUTPUT_FOLDER, required=True)
def main(model: str, data: Path, out: Path) -> None:
    """Look at the scores of MODEL on the real lenses of the development data.

    Example: python -m studies.lens_score small --data DATA --out build/lens-score
    """
    encoder = OnnxEncoder(resolve(model))
    lenses = load_lenses(data, encoder.side)
    scores = encoder.score(lenses.flux)
    if scores is None:
        raise click.UsageError(f"{model} has no lens score.")
    out.mkdir(parents=True, exist_ok=True)
    is_lens = lenses.is_lens
    # The later of two copies of one object is left out: frames overlap.
    misses = np.flatnonzero(is_lens)[np.argsort(scores[is_lens], kind="stable")]
    wrong = _distinct(lenses, np.flatnonzero(~is_lens)[np.argsort(-scores[~is_lens], kind="stable")])
    frame = WindowFrame(BANDS, encoder.side, PIXEL_SCALE)
    for name, rows in (("misses", misses[:SHOWN]), ("false-positives", wrong[:SHOWN])):
        panels = _panels(lenses, scores, rows, encoder.side)
        draw_gallery([panels[:5], panels[5:]], frame, out / f"lens-score-{name}.png")
    table = tabulate(scores, is_lens, lenses.trained)
    write_text(out / "lens-score.md", table + "\n")
    write_json(out / "lens-score.json", {"lens": scores[is_lens].tolist(), "other": scores[~is_lens].tolist()})
    click.echo(table)


def tabulate(scores: Floats, is_lens: NDArray[np.bool_], trained: NDArray[np.bool_]) -> str:
    """Tabulate thresholds: which share of the lenses and of other objects lies above, and the purity that would be.

    Objects of images that were ``trained`` on have a column of their own, and no part in the purity.
    """
    seen, unseen = ~is_lens & trained, ~is_lens & ~trained
    rows = []
    for share in SHARES:
        threshold = float(np.quantile(scores[is_lens], 1 - share))
        found = Share.of(int((scores[is_lens] >= threshold).sum()), int(is_lens.sum()))
        above, above_seen = (
            Share.of(int((scores[some] >= threshold).sum()), int(some.sum())) for some in (unseen, seen)
        )
        pure = (f"{purity(found.value, above, one)}" for one in PREVALENCES)
        rows.append([f"{threshold:.2f}", _percent(found), _percent(above), *pure, _percent(above_seen)])
    head = [
        "score above",
        "lenses",
        "other galaxies",
        *(f"purity at {one:g}" for one in PREVALENCES),
        "galaxies trained on",
    ]
    return markdown_table(head, rows)


def purity(found: float, above: Share, prevalence: float) -> str:
    """Compute the share of lenses above a threshold, with the interval that the share of other objects has.

    Where none of the others lies above, the lower end of the interval is all that is known.
    """
    value, low, high = (
        prevalence * found / (prevalence * found + (1 - prevalence) * other)
        for other in (above.value, above.high, above.low)
    )
    return f"{value:.2g} [{low:.2g}, {high:.2g}]" if above.value > 0 else f"> {low:.2g}"


def _percent(share: Share) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _distinct(lenses: LabelledWindows, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Keep the first of the objects of a frame that show the same pixels."""
    kept: list[int] = []
    for row in rows:
        near = [one for one in kept if lenses.frame[one] == lenses.frame[row]]
        if all(abs(lenses.magnitude[one] - lenses.magnitude[row]) > 0.3 for one in near):
            kept.append(int(row))
        if len(kept) == SHOWN:
            break
    return np.array(kept, np.intp)


def _panels(lenses: LabelledWindows, scores: Floats, rows: NDArray[np.intp], side: int) -> list[Panel]:
    return [
        Panel(Window(central(lenses.flux[row], side)), (f"score {scores[row]:.1f}", f"r = {lenses.magnitude[row]:.1f}"))
        for row in rows
    ]


if __name__ == "__main__":
    main()
