"""``scanner rank``: list the objects that look most like examples, or most like lenses."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalogs.ranking import AUTO, METHODS, NEXT
from scanner.cli.options import (
    catalog_option,
    encoder_options,
    gallery_options,
    image_options,
    known_option,
    output_options,
    pass_options,
)
from scanner.cli.output import DataCommand, emit

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from catalogs.ranking.feedback import Feedback
    from catalogs.search.examples import Examples
    from catalogs.search.tile_pass import Executor
    from catalogs.store.backend import Snapshot

DRAWN = 60
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to rank.", lance=True)
@click.option(
    "--like",
    type=FILE,
    help="Table of examples, such as known lenses, with ra and dec (CSV, FITS, VOTable, Parquet, .cat); "
    "--method score needs none.",
)
@click.option("--unlike", type=FILE, help="Table of counterexamples.")
@click.option(
    "--method", type=click.Choice([AUTO, *METHODS]), default=AUTO, show_default=True, help="Method of scoring."
)
@click.option("-k", default=100, show_default=True, type=click.IntRange(1), help="Number of objects to list.")
@click.option(
    "--radius",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Largest distance from a position to its object, in arcsec.",
)
@click.option("--where", metavar="FILTER", help='Filter of the rows, such as "mag_r < 21".')
@click.option(
    "--feedback", type=FILE, multiple=True, help="CSV of an earlier list with its column mark filled; may be repeated."
)
@click.option(
    "--next", "judge", type=click.Choice(NEXT), help="Candidates to judge next; known and marked objects are left out."
)
@click.option("--hide-known", is_flag=True, help="Leave out the examples and the lenses known from the literature.")
@known_option
@click.option("--augment", is_flag=True, help="Add the eight orientations of each example (needs --root).")
@click.option(
    "--prevalence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the ranked objects that you expect to be like the examples; probabilities depend on it.  "
    "[default: the one that the model states for its scores, or 0.001]",
)
@image_options
@encoder_options
@gallery_options(f"PNG or PDF of the first {DRAWN} (needs --root).")
@pass_options
@output_options
def rank(
    catalog: Path | str,
    like: Path | None,
    unlike: Path | None,
    method: str,
    k: int,
    radius: float,
    where: str | None,
    feedback: tuple[Path, ...],
    judge: str | None,
    hide_known: bool,
    known_lists: tuple[Path, ...],
    augment: bool,
    prevalence: float | None,
    root: Path | None,
    survey: str | None,
    model: str | None,
    device: str,
    gallery: Path | None,
    band_names: bool,
    executor: AbstractContextManager[Executor | None],
    fmt: str,
    output: Path | None,
) -> None:
    """Rank every primary object of a catalogue by how much it looks like the examples, or like a lens.

    centroid scores along the line from the mean of ordinary objects to the mean of the examples, nearest by the
    similarity to the nearest example, probe by logistic regression. score is the model's lens score, where the
    catalogue has one; it needs no example. fused joins the lens score and the examples, with weights that held-out
    examples and marks teach. auto is fused where there is a lens score (score without examples), else probe from 8
    examples on, and centroid below.

    Examples without an object in the catalogue are embedded if their tile is under --root, and otherwise reported.

    From 5 examples on there is a probability, fitted to held-out examples. It is that of being like the examples rather
    than an ordinary object, if a share --prevalence of the objects is. By score it is that of being a lens.

    To search in rounds, write CSV, fill its column mark with kept or rejected, and pass the file to --feedback. --next
    chooses what to list: the best; the most uncertain (probability nearest to one half); or, to explore, those of the
    best 20 k that are least like one another and all judged objects.

    \b
    Examples:
      scanner rank -k 200 --where "mag_auto < 22" -f csv -o candidates.csv
      scanner rank --like lenses.csv -k 200 -f csv -o candidates.csv
      scanner rank --like lenses.csv --feedback candidates.csv --next best -f csv -o round2.csv
      scanner rank --like lenses.csv --unlike spirals.csv --root /data/unions --augment --gallery candidates.png
      scanner rank --like lenses.csv --root /data/unions --gallery paper.pdf --band-names
      scanner rank --like lenses.csv -k 1000 --dask-config slurm.yaml --workers 16 -f csv -o candidates.csv
    """
    import catalogs
    from catalogs.ranking import rank as ranking
    from scanner.queries import examples, known_lenses, query

    for option, given in (("--gallery", gallery), ("--augment", augment)):
        if given and root is None:
            raise click.UsageError(f"{option} needs --root, the folder of the images.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    # All steps see the same tiles, which are listed once.
    snapshot = catalogue.snapshot()
    builder = query.QueryBuilder(snapshot, radius=radius, root=root, survey=survey, model=model, device=device)
    read: dict[Path | None, Examples] = {}
    for path in filter(None, (like, unlike)):
        read[path] = examples.read(path, builder, augment)
        click.echo("\n".join(examples.describe_examples(path, read[path])), err=True)
    with executor as running:
        table = ranking.rank(
            catalogue,
            read.get(like),
            read.get(unlike),
            _read_feedback(snapshot, feedback),
            snapshot=snapshot,
            executor=running,
            method=method,
            k=k,
            where=where,
            prevalence=prevalence,
            # These are flagged in the list even if they are not among the examples.
            known=known_lenses.read_known(known_lists),
            hide_known=hide_known,
            next=judge,
        )
    emit(table, fmt, output)
    if gallery is not None and root is not None:
        from scanner.queries import answer_gallery

        # The first example stands before the list; there is none where all are marks, or where the lens score ranks.
        some = read.get(like)
        first = replace(some.one(0), name="example") if some else None
        answer_gallery.draw([first], [table[:DRAWN]], builder.windows(), gallery, band_names=band_names)


def _read_feedback(snapshot: Snapshot, feedback: tuple[Path, ...]) -> Feedback | None:
    from catalogs.ranking.feedback import match_marks, read_marks

    if not feedback:
        return None
    marks = [mark for path in feedback for mark in read_marks(path)]
    matched = match_marks(snapshot.catalogue, marks, snapshot)
    click.echo(f"Feedback: {len(matched.kept)} kept, {len(matched.rejected)} rejected", err=True)
    return matched
