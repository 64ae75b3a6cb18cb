"""The candidates of a list, each with its tile and its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.names import check_acronym, iau_name
from scanner.candidates.crossmatch import read_list
from scanner.candidates.handoff import Target


def read_targets(path: Path, acronym: str) -> list[Target]:
    """Read the candidates of a list, in its order; those without a ``name`` are named by their positions.

    Raises:
        ScannerError: ``sources.*``, ``hunt.bad_list`` where it has no column ``tile``, no row, or a row without a
            position.
    """
    check_acronym(acronym)
    table, ra, dec = read_list(path)
    if "tile" not in table.colnames:
        message = f"{path} has no column tile."
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, message, "Give a list that rank, query or release wrote.")
    if not len(table):
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, f"{path} holds no object.", "Loosen its filter.")
    if not np.isfinite(ra).all():
        row = int(np.argmin(np.isfinite(ra))) + 1
        message = f"{path}: row {row} has no position on the sky."
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, message, "Remove the row, or correct its position.")
    if table["tile"].dtype.kind != "U":
        # A tile such as 217.290 would have lost its zero as a number.
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, f"{path}: the column tile holds numbers.", "Write it as text.")
    tiles = [str(one) for one in table["tile"]]
    names = [str(one) for one in table["name"]] if "name" in table.colnames else [""] * len(table)
    return [
        Target(name or iau_name(x, y, acronym), tile, x, y)
        for name, tile, x, y in zip(names, tiles, ra.tolist(), dec.tolist(), strict=True)
    ]
