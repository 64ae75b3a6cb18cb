"""Make the tile that ships with the scanner: ``python -m tools.make_demo_tile OUT``.

OUT is ``scanner/demo`` by default.

Five bands, 1500 px a side, bright lenses of varied Einstein radius, RICE-compressed files with UNIONS names, and their
``truth.csv``. The same seed gives the same pixels where the GalSim and NumPy versions are the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from scanner.survey.bands import BANDS
from training.simulate.conditions import GAIN, OFFSET, SATURATION, BandConditions, Settings, pixel_rms
from training.simulate.scene import Scene, simulate_tile
from training.simulate.write import write_tile

TILE = "217.292"
SEED = 1
SEEING = {"u": 0.85, "g": 0.74, "r": 0.64, "i": 0.68, "z": 0.66}  # arcsec
SETTINGS = Settings(
    size=1500,
    lens_fraction=0.028,
    lookalike_fraction=0.028,
    theta_e=(1.1, 3.0),
    source_mag=(22.0, 23.6),
    least_snr=60.0,
    trails=0.0,
)


def conditions() -> tuple[BandConditions, ...]:
    """Conditions of good seeing in every band, at the depth of the survey."""
    return tuple(
        BandConditions(b, SEEING[b], 3.0, 0.008, -0.006, pixel_rms(b), GAIN[b], SATURATION[b], OFFSET[b], True)
        for b in BANDS
    )


def demo_scene(seed: int = SEED) -> Scene:
    """Render the scene of the demo in memory."""
    return simulate_tile(TILE, seed, SETTINGS, conditions())


def main(folder: Path) -> None:
    """Write the demo's files into ``folder``."""
    for path in write_tile(demo_scene(), folder, compress=True):
        click.echo(f"{path} {path.stat().st_size / 1e6:.2f} MB", err=True)
    (folder / f"truth-{TILE}.csv").replace(folder / "truth.csv")
    (folder / "list.txt").write_text(f"{TILE}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "scanner" / "demo")
