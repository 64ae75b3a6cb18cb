"""Rows of painted shards with a given number of lenses, so that a run can be trained on fewer of them.

Only the number of different lenses changes. Those that are kept come more often, so that an epoch is as long as with
all of them, and lenses, hosts and look-alikes have the same shares of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError

ALONE = -1
"""Host of a look-alike that was painted on the sky, and belongs to no lens."""

Rows = NDArray[np.int64]


def draw_painted_rows(tables: Mapping[int, Path], lenses: int, seed: int) -> dict[int, Rows]:
    """Draw the rows of an epoch from painted shards, given by number and table, with ``lenses`` different lenses.

    A lens comes with its host and the look-alike on it. Look-alikes on the sky are reduced in proportion. With one seed
    more lenses include all of those of fewer.

    Raises:
        ScannerError: ``config.bad`` if there are fewer lenses; ``shards.bad`` if a table does not tell hosts.
    """
    groups = [(number, first, end) for number, path in tables.items() for first, end in _groups(path)]
    # A group of one row is a look-alike on the sky.
    pairs = [group for group in groups if group[2] - group[1] > 1]
    alone = [group for group in groups if group[2] - group[1] == 1]
    if lenses > len(pairs):
        message = f"[data] lenses asks for {lenses}, and the painted shards hold {len(pairs)} lenses for training."
        raise ScannerError(ErrorCode.CONFIG_BAD, message, "Paint more (cutouts --paint), or give fewer lenses.")
    random, rows = np.random.default_rng(seed), dict[int, list[Rows]]({number: [] for number in tables})
    for some, count in ((pairs, lenses), (alone, max(round(len(alone) * lenses / len(pairs)), 1))):
        order = random.permutation(len(some))[:count]
        for place in np.resize(order, len(some)):
            number, first, end = some[place]
            rows[number].append(np.arange(first, end))
    return {number: np.sort(np.concatenate([np.empty(0, np.int64), *parts])) for number, parts in rows.items()}


def _groups(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the first row and the end of each group: a lens, its host and at times a look-alike, or one row alone."""
    try:
        table = pq.read_table(path, columns=["label", "host"], page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ScannerError(ErrorCode.SHARDS_BAD, f"The table {path} cannot be read: {error}.") from error
    label, host = (table[name].to_numpy(zero_copy_only=False) for name in ("label", "host"))
    is_alone = np.isnan(host) | (host == ALONE)
    starts = np.flatnonzero((label == "lens") | is_alone | (np.arange(len(label)) == 0))
    for first, end in zip(starts, np.append(starts, len(label))[1:], strict=True):
        is_pair = list(label[first : first + 2]) == ["lens", "galaxy"] and (host[first:end] == host[first]).all()
        is_whole = is_pair if end - first > 1 else is_alone[first]
        if not is_whole:
            raise _bad(path, int(first))
        yield int(first), int(end)


def _bad(path: Path, row: int) -> ScannerError:
    message = f"{path}, row {row}: a lens and its host do not follow each other."
    return ScannerError(ErrorCode.SHARDS_BAD, message, "Make the shard again: python -m training cutouts --paint")
