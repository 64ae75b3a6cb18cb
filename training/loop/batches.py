"""Batches of cutouts from memory-mapped shards; all random numbers of a sample come from (seed, epoch, row)."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json
from scanner.windows.orientations import ORIENTATIONS, orient
from training.config import Augment, Config, Model
from training.cutouts.shards import KINDS, LENS, LOOKALIKE, PAINTED, SKY, TRAIN
from training.loop.painted_rows import draw_painted_rows

CENTRED = Augment(jitter=0, flips=False, drop_band=0.0, drop_patch=0.0, noise=0.0)

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


class Batch(NamedTuple):
    """Input of one micro-batch.

    ``flux`` [N, B, S, S] is in nJy, NaN for no data; ``noise`` [N, L] orders patches; ``hidden`` bool [N, B, S, S].
    ``kind`` int64 [N] is the index of a class (see ``open_cutouts``), -1 where it is not known. ``clean`` is the flux
    before noise was added, and empty where the objective does not need it.
    """

    flux: Tensor
    noise: Tensor
    hidden: Tensor
    kind: Tensor
    clean: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(part.to(device, non_blocking=True) for part in self))


@dataclass(frozen=True)
class Cutouts:
    """Cutouts of one split: ``cutouts[row]`` is float32 [B, W, W] in nJy, read from disk on access."""

    arrays: tuple[NDArray[np.float32], ...]
    rows: NDArray[np.int64]  # [n, 2]: shard and row in it; repeated sources occur several times
    labels: NDArray[np.str_]  # [n]: of simulated and painted objects, empty for others
    kinds: NDArray[np.int64]  # [n]: index of a class, -1 where it is not known
    is_painted: NDArray[np.bool_]  # [n]: whether the shard holds painted cutouts and their hosts
    is_ordinary: NDArray[np.bool_]  # [n]: an object of an image as it is, and no simulated lens or look-alike
    channels: tuple[int, ...]  # of the stored bands, in the order of the model
    sources: dict[str, int]  # rows of each source that are used, without repeats
    manifest: dict[str, Any]
    digest: str  # sha256 of the manifest

    def __len__(self) -> int:
        return len(self.rows)

    def as_they_are(self) -> Cutouts:
        """Those of images without anything painted into them."""
        mine = ~self.is_painted
        columns = ("rows", "labels", "kinds", "is_painted", "is_ordinary")
        return replace(self, **{name: getattr(self, name)[mine] for name in columns})

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        shard, at = self.rows[row]
        cutout = self.arrays[shard][at]
        return cutout if self.channels == tuple(range(len(cutout))) else cutout[list(self.channels)]


def open_cutouts(folder: Path, config: Config, split: str = TRAIN) -> Cutouts:
    """Map the shards of one split, as the manifest assigns them; a shard without a split is for training.

    The classes are KINDS, by the label of simulated objects; or those of the score, where objects without such a label
    are ordinary galaxies.

    Raises:
        ScannerError: ``shards.missing``; ``shards.bad`` if a file differs from the manifest; ``shards.other_pixels`` if
            bands, scale or window do not suit the model; ``config.bad`` if ``repeat`` names an unknown source, or
            fewer lenses are painted than ``lenses``.
    """
    manifest, digest = _manifest(folder)  # the digest ties a run to its cutouts
    channels = _channels(manifest, config.model)
    entries = [entry for entry in manifest["shards"] if entry.get("split", TRAIN) == split]
    arrays, rows, labels, ordinary, sources = [], [np.empty((0, 2), np.int64)], [np.empty(0, str)], [], {}
    used = _painted_rows(folder, entries, config) if split == TRAIN and config.data.lenses else {}
    for number, entry in enumerate(entries):
        arrays.append(_map(folder / entry["file"], entry["rows"], manifest))
        source, mine = str(entry.get("source", "")), used.get(number, np.arange(entry["rows"]))
        sources[source] = sources.get(source, 0) + len(np.unique(mine))
        # A source that is repeated appears in the list of rows several times; its pixels are mapped once.
        times = config.data.repeat.get(source, 1) if split == TRAIN else 1
        rows += [np.stack([np.full(len(mine), number), mine], axis=1)] * times
        label, is_sky = _labels(folder / entry["file"], entry["rows"])
        labels += [label[mine]] * times
        is_ordinary = ~np.isin(label, (LENS, LOOKALIKE)) & ~is_sky & (not _is_painted(entry))
        ordinary += [is_ordinary[mine]] * times
    unknown = sorted(set(config.data.repeat) - set(sources)) if split == TRAIN else []
    if unknown:
        raise ScannerError(
            ErrorCode.CONFIG_BAD, f"[data] repeat names {unknown[0]!r}; the shards hold {sorted(sources)}."
        )
    places = np.concatenate(rows)
    painted = np.array([_is_painted(entry) for entry in entries], np.bool_)[places[:, 0]]
    return Cutouts(
        arrays=tuple(arrays),
        rows=places,
        labels=np.concatenate(labels),
        kinds=_kinds(np.concatenate(labels), config.score.classes),
        is_painted=painted,
        is_ordinary=np.concatenate([np.empty(0, np.bool_), *ordinary]),
        channels=channels,
        sources=sources,
        manifest=manifest,
        digest=digest,
    )


def _is_painted(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("source", "")).endswith(PAINTED)


def _painted_rows(folder: Path, entries: Sequence[Mapping[str, Any]], config: Config) -> dict[int, NDArray[np.int64]]:
    """Draw the rows of each painted shard, by its number, that a limit on the number of lenses leaves."""
    files = {number: folder / entry["file"] for number, entry in enumerate(entries) if _is_painted(entry)}
    tables = {number: file.with_suffix(".parquet") for number, file in files.items()}
    return draw_painted_rows(tables, config.data.lenses, config.run.seed)


def _manifest(folder: Path) -> tuple[dict[str, Any], str]:
    try:
        text = (folder / "manifest.json").read_bytes()
        return load_json(text), hashlib.sha256(text).hexdigest()
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "Make shards first: python -m training cutouts --help"
        raise ScannerError(ErrorCode.SHARDS_MISSING, f"{folder} holds no shards (no manifest.json).", hint) from error
    except ValueError as error:
        raise ScannerError(ErrorCode.SHARDS_BAD, f"{folder}/manifest.json is not JSON: {error}.") from error


def _channels(manifest: dict[str, Any], model: Model) -> tuple[int, ...]:
    bands, scale, window = manifest["bands"], manifest["pixel_scale"], manifest["window"]
    absent = [band for band in model.bands if band not in bands]
    if absent or abs(scale / model.pixel_scale - 1) > 0.01 or window < model.window:
        raise ScannerError(
            ErrorCode.SHARDS_OTHER_PIXELS,
            f"The shards hold bands {bands} at {scale} arcsec in {window} px; the model needs {list(model.bands)} at "
            f"{model.pixel_scale} arcsec in {model.window} px.",
            "Change [model] in the configuration, or cut the shards again.",
        )
    return tuple(bands.index(band) for band in model.bands)


def _map(path: Path, rows: int, manifest: dict[str, Any]) -> NDArray[np.float32]:
    shape = (rows, len(manifest["bands"]), manifest["window"], manifest["window"])
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ScannerError(ErrorCode.SHARDS_BAD, f"The shard {path} cannot be read: {error}.") from error
    if array.shape != shape or array.dtype != np.float32:
        raise ScannerError(
            ErrorCode.SHARDS_BAD, f"{path} holds {array.dtype} {array.shape}, the manifest says {shape}."
        )
    return array


def _kinds(labels: NDArray[np.str_], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Number labels [n] by ``classes``, where others are ordinary galaxies; else by KINDS, where others are unknown."""
    names, otherwise = (classes, classes.index("galaxy")) if classes else (KINDS, -1)
    words, places = np.unique(labels, return_inverse=True)
    numbers = [names.index(word) if word in names else otherwise for word in words.tolist()]
    return np.array(numbers, np.int64)[places]


def _labels(path: Path, rows: int) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Read the labels [rows] from the table beside a shard, and which are places without an object.

    Without a table they are empty.
    """
    table = path.with_suffix(".parquet")
    if not table.is_file():
        return np.full(rows, ""), np.zeros(rows, np.bool_)
    try:
        read = pq.read_table(table, columns=["label", "kind"], page_checksum_verification=True)
        labels, kinds = (np.array(read[name].to_pylist(), str) for name in ("label", "kind"))
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ScannerError(ErrorCode.SHARDS_BAD, f"The table {table} cannot be read: {error}.") from error
    if len(labels) != rows:
        raise ScannerError(ErrorCode.SHARDS_BAD, f"{table} has {len(labels)} rows, the manifest says {rows}.")
    return labels, kinds == SKY


def sample(
    cutout: NDArray[np.float32], random: np.random.Generator, augment: Augment, model: Model
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Augment one cutout [B, W, W]: flux [B, S, S], noise [L], hidden patches [B, L], flux before noise was added."""
    # All numbers but those of the added noise are drawn here, whatever the options: the order is part of a run.
    dy, dx = random.integers(-augment.jitter, augment.jitter + 1, size=2)
    turn = int(random.integers(ORIENTATIONS)) if augment.flips else 0
    noise = random.random(model.patches, dtype=np.float32)
    dropped = random.random(len(model.bands)) < augment.drop_band
    hidden = random.random((len(model.bands), model.patches)) < augment.drop_patch
    y, x = _corner(cutout.shape[1], model.window, dy), _corner(cutout.shape[2], model.window, dx)
    if turn >= 4:  # mirrored ones, in the order that a run drew them before there was ``orient``: it can be resumed
        turn = 4 + (turn + 1) % 4
    clean = flux = orient(cutout[:, y : y + model.window, x : x + model.window], turn)
    # One band with data always stays visible.
    present = np.isfinite(flux).any(axis=(1, 2))
    if (dropped | ~present).all():
        dropped[:] = False
    if augment.noise:
        flux = flux + _more_noise(flux, augment.noise * random.random(), random)
    return flux, noise, hidden | dropped[:, None], clean


def _more_noise(flux: NDArray[np.float32], amount: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Draw Gaussian noise of ``amount`` times the noise of each band, which steps between pixels of [B, S, S] show."""
    # The median step between neighbours is robust to sources; it is sqrt(2) times the noise. Every fourth row suffices.
    steps = np.abs(np.diff(flux[:, ::4], axis=2)).reshape(len(flux), -1)
    with no_warnings():
        sigma = np.nan_to_num(np.nanmedian(steps, axis=1)) * np.float32(MAD_TO_SIGMA / math.sqrt(2) * amount)
    return random.standard_normal(flux.shape, np.float32) * sigma[:, None, None]


def _corner(size: int, window: int, shift: int) -> int:
    return min(max((size - window) // 2 + shift, 0), size - window)


def make_batch(cutouts: Cutouts, keys: NDArray[np.int64], augment: Augment, config: Config) -> Batch:
    """Make the batch of ``keys`` [N, 2] = (epoch, row), or [N, 3] with the number of a view.

    The same keys always give the same batch.
    """
    model, n = config.model, len(keys)
    flux = np.empty((n, len(model.bands), model.window, model.window), np.float32)
    noise = np.empty((n, model.patches), np.float32)
    hidden = np.empty((n, len(model.bands), model.patches), np.bool_)
    clean = np.empty_like(flux if config.objective.denoise else flux[:0])  # empty, so that it costs no copy
    for i, key in enumerate(keys):
        # A generator for each sample: it does not depend on the batch, the process or the order.
        random = np.random.default_rng([config.run.seed, *key])
        flux[i], noise[i], hidden[i], before = sample(cutouts[key[1]], random, augment, model)
        if len(clean):
            clean[i] = before
    parts = (flux, noise, _in_pixels(hidden, model), cutouts.kinds[keys[:, 1]], clean)
    return Batch(*(torch.from_numpy(part) for part in parts))


def _in_pixels(hidden: NDArray[np.bool_], model: Model) -> NDArray[np.bool_]:
    side = model.window // model.patch
    square = hidden.reshape(*hidden.shape[:2], side, side)  # (N, B, rows of patches, columns)
    return square.repeat(model.patch, axis=2).repeat(model.patch, axis=3)


def views(keys: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Repeat ``keys`` [N, 2] for each view, view after view: [count N, 3], or as they are for one view."""
    if count == 1:
        return keys
    return np.concatenate([np.column_stack([keys, np.full(len(keys), view)]) for view in range(count)])


def sample_keys(positions: NDArray[np.int64], rows: int, seed: int) -> NDArray[np.int64]:
    """Find the (epoch, row) [N, 2] at ``positions`` [N] of the endless stream of shuffled epochs."""
    epochs, offsets = np.divmod(positions, rows)
    order = [_permutation(seed, int(epoch), rows)[offset] for epoch, offset in zip(epochs, offsets, strict=True)]
    return np.stack([epochs, np.array(order, np.int64)], axis=1)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, rows: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(rows)


def no_warnings() -> AbstractContextManager[object]:
    """Silence the warnings of ``nanmedian`` about bands without data."""
    return warnings.catch_warnings(action="ignore", category=RuntimeWarning)
