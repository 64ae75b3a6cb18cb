"""Worth of pre-training: one fine-tuning on painted lenses from several weights, measured on the real lenses.

A cell is one run: what it begins with, how many painted lenses it sees, and a seed. Its folder holds the run and
``measured.json``, with which it is finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catalogs.atomic import write_text
from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import PairedEstimate
from catalogs.records import load_json, load_toml, read_record
from scanner.survey.bands import BANDS
from studies.training.runs import StoppedError, folder_name, merge, restore, store
from training.config import Config
from training.evaluate.embeddings import Embeddings
from training.evaluate.models import Floats, Flux, Vectors
from training.evaluate.run import Bench
from training.evaluate.sets.lenses import central
from training.loop.batches import open_cutouts
from training.loop.checkpoint import Checkpoint, load
from training.loop.pretrain import pretrain
from training.loop.release_folder import CONFIG, release_config, release_stages

PLAN = Path(__file__).with_name("worth.toml")
TASK = "lens-score"
MEASURED = "measured.json"
RANDOM, PRETRAINED, AUTOENCODER = BEGINNINGS = "random", "pretrained", "autoencoder"
AT_ONCE = 64


@dataclass(frozen=True)
class Start:
    """What a run begins with, one of ``BEGINNINGS``, and whether only its head is trained."""

    begin: str = RANDOM
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.begin not in BEGINNINGS:
            raise ValueError(f"begin {self.begin!r} is none of {', '.join(BEGINNINGS)}")


@dataclass(frozen=True)
class Plan:
    """Axes of the grid; ``config`` is the file of the configuration, relative to that of the plan."""

    config: str
    lenses: tuple[int, ...]
    seeds: tuple[int, ...]
    starts: Mapping[str, Start]


@dataclass(frozen=True)
class Weights:
    """Weights of a finished run, or of the folder of a release."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Measured:
    """Result of a cell: ``estimates`` by the measures of the task, after ``minutes`` of training."""

    minutes: float
    estimates: Mapping[str, PairedEstimate]


@dataclass(frozen=True)
class Cell:
    """One run of the grid. ``asked`` is what its result depends on: configuration, shards and first weights."""

    start: str
    lenses: int
    seed: int
    config: Config
    begin: Path | None
    folder: Path
    asked: Mapping[str, Any]

    def measured(self) -> Measured | None:
        """Read the result, None if the cell is not finished, or was measured by an earlier version.

        Raises:
            ScannerError: ``run.other_config`` if it is that of another plan, other shards or other weights.
        """
        path = self.folder / MEASURED
        if not path.is_file():
            return None
        stored = load_json(path)
        if stored["asked"] != self.asked:
            message = f"{path} was measured with another configuration, other shards or other first weights."
            raise ScannerError(ErrorCode.RUN_OTHER_CONFIG, message, "Give another --out.")
        results = restore(stored["results"])
        return None if results is None else Measured(stored["minutes"], results[TASK].estimates)


def read(path: Path = PLAN) -> tuple[Plan, dict[str, Any]]:
    """Read a plan, and the tables of the configuration that all of its runs share.

    Raises:
        ScannerError: ``config.bad``.
    """
    try:
        tables = load_toml(path)
        differs = tables.pop("differs", {})
        plan = read_record(tables, Plan)
        return plan, merge(load_toml(path.parent / plan.config), differs)
    except (OSError, ValueError) as error:
        raise ScannerError(ErrorCode.CONFIG_BAD, f"{path}: {error}.", f"{PLAN.name} is an example.") from error


def read_weights(pretrained: Path | None, autoencoder: Path | None) -> dict[str, Weights]:
    """Check the weights that were given, by the name that a plan has for them.

    Raises:
        ScannerError: ``config.bad`` for weights that have learned from painted lenses, or an autoencoder that has
            learned more than to reconstruct; ``checkpoint.*`` or ``release.*``.
    """
    found = {}
    for name, path in ((PRETRAINED, pretrained), (AUTOENCODER, autoencoder)):
        if path is None:
            continue
        if (path / CONFIG).is_file():
            config, sha256 = release_config(path), release_stages(path)[-1]["weights_sha256"]
        else:
            run = load(path)
            config, sha256 = run.config, run.weights_sha256
        if config.score.classes:
            hint = f"Give the run or release of an earlier stage with --{name}."
            raise ScannerError(ErrorCode.CONFIG_BAD, f"{path} was trained on painted lenses already.", hint)
        if name == AUTOENCODER and (config.objective.contrast or config.objective.simulated):
            message = f"{path} was trained on views or kinds too, and is no masked autoencoder alone."
            raise ScannerError(ErrorCode.CONFIG_BAD, message, "Give the run of the first stage with --autoencoder.")
        found[name] = Weights(path, sha256)
    return found


def make_grid(
    plan: Plan, tables: Mapping[str, Any], weights: Mapping[str, Weights], shards: Path, out: Path
) -> list[Cell]:
    """Make the cells in the order in which they are run: all starts and numbers of one seed first.

    A start whose weights are not given is left out. Raises ``config.bad`` if none is left.
    """
    digest, cells = "", []
    for seed in plan.seeds:
        for lenses in plan.lenses:
            for name, start in plan.starts.items():
                if start.begin != RANDOM and start.begin not in weights:
                    continue
                how = {"name": f"{name}, {lenses} lenses", "data": {"lenses": lenses}, "run": {"seed": seed}}
                config = Config.from_dict(merge(tables, how, {"score": {"frozen": start.frozen}}), "the plan")
                begin = weights.get(start.begin)
                digest = digest or open_cutouts(shards, Config(model=config.model)).digest
                path, sha256 = (begin.path, begin.sha256) if begin else (None, None)
                # As JSON gives it back, so that it can be compared.
                asked = load_json(json.dumps({"config": config.to_dict(), "shards": digest, "began_with": sha256}))
                folder = out / folder_name(name, lenses, "seed", seed)
                cells.append(Cell(name, lenses, seed, config, path, folder, asked))
    if not cells:
        raise ScannerError(ErrorCode.CONFIG_BAD, "No start of the plan has weights.", "Give --pretrained.")
    return cells


def run(cells: Sequence[Cell], shards: Path, bench: Bench) -> Iterator[Cell]:
    """Train and measure the cells that are not finished.

    Raises:
        StoppedError: A signal ended a training.
        ScannerError: ``config.bad``, before anything is trained, if the shards hold too few painted lenses;
            ``checkpoint.other_first`` and what ``pretrain`` raises.
    """
    left = [cell for cell in cells if cell.measured() is None]
    if left:
        open_cutouts(shards, max(left, key=lambda cell: cell.lenses).config)
    for cell in left:
        if number := pretrain(cell.config, shards, cell.folder, resume=True, begin=cell.begin):
            raise StoppedError(number)
        trained = load(cell.folder)
        # A run that was begun by an earlier command may have begun with other weights, or be of other shards.
        before = {"shards": trained.data["manifest_sha256"], "began_with": trained.data.get("began_with")}
        if any(cell.asked[key] != value for key, value in before.items()):
            message = f"The run in {cell.folder} began with other weights or saw other shards."
            raise ScannerError(ErrorCode.CHECKPOINT_OTHER_FIRST, message, "Give another --out.")
        model = LensScore(trained)
        results = bench.measured(cell.folder.name, Embeddings(lambda _, model=model: model, model.side))  # type: ignore[misc]
        record = {"asked": cell.asked, "weights": trained.weights_sha256, "minutes": trained.progress["seconds"] / 60}
        write_text(cell.folder / MEASURED, json.dumps(record | {"results": store(results)}) + "\n")
        yield cell


class LensScore:
    """Lens score of a graph before its calibration, which keeps the order but for a head that found nothing."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._graph, model = checkpoint.embedding(), checkpoint.config.model
        self.side, self._bands = model.window, [BANDS.index(band) for band in model.bands]

    @torch.no_grad()
    def embed(self, flux: Flux) -> Vectors:
        return np.concatenate([self._graph.embed(*self._graph.encode(part)).numpy() for part in self._parts(flux)])

    @torch.no_grad()
    def score(self, flux: Flux) -> Floats:
        head = self._graph.head
        assert head is not None
        odds = [head.log_odds(head(self._graph.encode(part)[0]))[:, 0] for part in self._parts(flux)]
        return torch.cat(odds).double().numpy()

    def _parts(self, flux: Flux) -> Iterator[Tensor]:
        for start in range(0, len(flux), AT_ONCE):
            pixels = central(flux[start : start + AT_ONCE], self.side)[:, self._bands]
            yield torch.from_numpy(np.ascontiguousarray(pixels))
