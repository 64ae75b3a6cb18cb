"""Study of the main job on real survey pixels: scan, count known positions among the objects, query at real lenses.

``python -m studies.real_tiles DATA OUT`` builds the development tiles of DATA (see its README: 110.280 and 111.280 are
CFHTLS MegaCam pixels with 48 known lenses, u and z missing; 112.280 is KiDS + VIKING in five bands, of 0.339 arcsec)
and runs the commands a user would type. Figures and a JSON of what it counted go to OUT.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

import catalogs

MATCH = 1.0  # arcsec
LENSES = ("CFHTLS_030_16291_12297_o_gri", "CFHTLS_044_13935_13806_o_gri", "CFHTLS_169_1956_6554_o_gri")


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def main(data: Path, out: Path) -> None:
    """Scan the development tiles of DATA, count and query; figures and numbers in OUT."""
    tiles, catalog = out / "tiles", out / "embeddings"
    truth, negatives = _rows(data / "tiles_dev" / "truth.csv"), _rows(data / "tiles_dev" / "negatives.csv")
    if not tiles.is_dir():
        _run(sys.executable, str(data / "tiles_dev" / "build_tiles.py"), str(tiles))
    (out / "list.txt").write_text("110.280\n111.280\n112.280\n", encoding="utf-8")
    scan = ("scan-tiles", "--tiles", str(out / "list.txt"), "--root", str(tiles))
    click.echo("As they are, the 0.339 arcsec pixels are refused and the others are scanned:")
    _scanner(*scan, "--out", str(catalog), may_fail=True)
    _scanner(*scan, "--out", str(catalog), "--resample")
    _scanner("index", "--catalog", str(catalog))
    table = catalogs.open(catalog).table(["tile", "ra", "dec", "object_id", "embedding"])
    numbers = {"objects": _counted(table), "truth_within_1_arcsec": _count(table, truth)}
    numbers["retrieval"] = _retrieval(table, truth, negatives)
    click.echo(json.dumps(numbers, indent=2))
    (out / "real_tiles.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    for number, name in enumerate(LENSES, 1):
        lens = next(row for row in truth if row["name"] == name and row["tile"] == "110.280")
        where = ("--ra", lens["ra"], "--dec", lens["dec"], "-k", "15", "--catalog", str(catalog), "--root", str(tiles))
        _scanner("query", *where, "--gallery", str(out / f"lens-{number}.png"))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _run(*command: str, may_fail: bool = False) -> None:
    subprocess.run(command, check=not may_fail)


def _scanner(*arguments: str, may_fail: bool = False) -> None:
    click.echo(f"\n$ scanner {' '.join(arguments)}")
    _run(sys.executable, "-c", "from scanner.cli import main; main()", *arguments, may_fail=may_fail)


def _counted(table: Table) -> dict[str, int]:
    names, counts = np.unique(table["tile"], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _nearest(table: Table, rows: list[dict[str, str]]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find for each row the nearest object of its own tile: index and distance in arcsec."""
    ra, dec, tile = np.asarray(table["ra"]), np.asarray(table["dec"]), np.asarray(table["tile"])
    indices, distances = np.zeros(len(rows), np.intp), np.full(len(rows), np.inf)
    for number, row in enumerate(rows):
        # On these small tiles the sky is flat: degrees of RA shrink by the cosine of the declination.
        across = (ra - float(row["ra"])) * np.cos(np.radians(float(row["dec"])))
        away = np.where(tile == row["tile"], np.hypot(across, dec - float(row["dec"])) * 3600, np.inf)
        indices[number] = away.argmin()
        distances[number] = away.min()
    return indices, distances


def _count(table: Table, truth: list[dict[str, str]]) -> dict[str, dict[str, list[int]]]:
    """Count known positions with an object within 1 arcsec, by tile and label."""
    _, distances = _nearest(table, truth)
    counts: dict[str, dict[str, list[int]]] = {}
    for row, distance in zip(truth, distances, strict=True):
        hits, of = counts.setdefault(row["tile"], {}).setdefault(row["label"], [0, 0])
        counts[row["tile"]][row["label"]] = [hits + int(distance <= MATCH), of + 1]
    return counts


def _retrieval(table: Table, truth: list[dict[str, str]], negatives: list[dict[str, str]]) -> dict[str, Any]:
    """Measure leave-one-out retrieval of the 48 lenses of 110.280 among the negatives, by stored embeddings."""
    lenses = [row for row in truth if row["tile"] == "110.280" and row["label"] == "lens"]
    vectors = np.asarray(table["embedding"], np.float64)
    positive, _ = _nearest(table, lenses)
    negative, away = _nearest(table, negatives)
    # A negative without an object in the catalogue cannot be ranked.
    negative = negative[away <= MATCH]
    every = np.concatenate([positive, negative])
    cosine = vectors[positive] @ vectors[every].T
    precision, at_10 = [], []
    for number, row in enumerate(cosine):
        # A lens must not find itself: it goes last, and ``[:-1]`` drops it.
        row[number] = -np.inf
        hits = np.argsort(-row)[:-1] < len(positive)
        ranks = np.flatnonzero(hits) + 1
        precision.append(float((np.arange(1, len(ranks) + 1) / ranks).mean()))
        at_10.append(float(hits[:10].mean()))
    return {
        "lenses": len(positive),
        "negatives": len(negative),
        "mAP": round(float(np.mean(precision)), 3),
        "P@10": round(float(np.mean(at_10)), 3),
        "chance": round(len(positive) / len(every), 3),
    }


if __name__ == "__main__":
    main()
