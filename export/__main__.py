"""``python -m export CHECKPOINT OUT``: from weights to the file that scanning needs, or to a whole release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from export import LICENCE
from scanner.system.output_path import OUTPUT_FILE, OutputPath
from scanner.system.standard_streams import run_program
from training.config import POOLINGS
from training.model.embedding_options import DEFAULT


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out", type=OutputPath())
@click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    help=f"Pooling of patches to one vector.  [default: {DEFAULT.pooling}]",
)
@click.option(
    "--whitening",
    type=click.FloatRange(0, 1),
    help=f"Whitening of the principal axes: 0 for none, 1 for full.  [default: {DEFAULT.whitening}]",
)
@click.option(
    "--steadiness",
    type=click.FloatRange(min=0),
    help="Reduced weight of what changes when an object is turned, noisier or without a band; 0 for none.  "
    f"[default: {DEFAULT.steadiness}]",
)
@click.option(
    "--emphasis",
    type=click.FloatRange(min=0),
    help=f"Added weight of what distinguishes simulated lenses; 0 for none.  [default: {DEFAULT.emphasis}]",
)
@click.option(
    "--cutouts",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of shards to compare on.  [default: made-up galaxies]",
)
@click.option("--card", type=OUTPUT_FILE, help="Model card to write (Markdown).")
@click.option(
    "--evaluation",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Evaluation of this model for the card: evaluation.json.",
)
@click.option(
    "--first",
    type=click.Path(exists=True, path_type=Path),
    help="Run that CHECKPOINT began with, for the card of an early checkpoint.",
)
@click.option("--licence", default=LICENCE, show_default=True, help="Licence of the weights: an SPDX name.")
def export_command(
    checkpoint: Path,
    out: Path,
    pooling: str | None,
    whitening: float | None,
    steadiness: float | None,
    emphasis: float | None,
    cutouts: Path | None,
    card: Path | None,
    evaluation: Path | None,
    first: Path | None,
    licence: str,
) -> None:
    """Export the run or file CHECKPOINT to OUT, after checking that ONNX Runtime agrees with torch.

    The embedding of a run with scores is fixed by its training: --pooling, --whitening, --steadiness and --emphasis
    must not differ from it.

    OUT is one file if it ends in .onnx, else the folder of a release: encoder.onnx, encoder_fp16.onnx
    (for GPUs), encoder_int8.onnx (for CPUs), model.safetensors, config.json, README.md (the card) and SHA256SUMS.

    \b
    Examples:
      python -m export run encoder.onnx --cutouts shards --card MODEL_CARD.md
      python -m export run build/small --cutouts shards --evaluation build/evaluation/evaluation.json
    """
    from catalogs.atomic import write_text
    from export.card import render
    from export.release import CARD, release
    from export.to_onnx import export

    given = {"pooling": pooling, "whitening": whitening, "steadiness": steadiness, "emphasis": emphasis}
    changes = {name: value for name, value in given.items() if value is not None}
    options, formats = replace(DEFAULT, **changes) if changes else None, {}
    if out.suffix == ".onnx":
        done = export(checkpoint, out, options, cutouts, licence, first)
    else:
        made = release(checkpoint, out, options, cutouts, licence, evaluation, first)
        done, formats = made.exported, made.formats
    for name, worst in done.verification.worst.items():
        click.echo(f"{name}: {worst:.1e}", err=True)
    for name, worst in done.verification.scores.items():
        click.echo(f"scores, {name}: {worst:.1e}", err=True)
    for name, agreement in formats.items():
        click.echo(f"{name} against fp32: {agreement}", err=True)
    if card:
        write_text(card, render(done, evaluation=evaluation) if not formats else (out / CARD).read_text("utf-8"))
    click.echo(out)


def main() -> None:
    """Run the command."""
    run_program(export_command, "python -m export")


if __name__ == "__main__":
    main()
