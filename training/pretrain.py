"""Pre-train the masked autoencoder: one loop, the same steps whether undisturbed, killed and resumed, or spread out.

A step is a function of (configuration, shards, weights, optimiser state, step number): batches and masks come from
(seed, epoch, row), the network draws no random number, and the schedule depends on the step alone.

A time budget becomes a number of steps: the warm-up (whose learning rate does not depend on the end) is timed, the
steps that fit are fixed there and then and kept in the checkpoint, and the cosine runs over them. So a budgeted run
resumes as exactly as any other; it ends early or late only as far as the machine speeds up or slows down.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from catalogs.atomic import remove_stale
from catalogs.errors import ScannerError
from training.checkpoint import NAME, Checkpoint, load, optimiser_tensors, restore_optimiser, save
from training.config import Config, Optimiser
from training.data import CENTRED, VALIDATE, Batch, Cutouts, batch_of, keys_of, open_cutouts, prefetched
from training.journal import Journal
from training.mae import MaskedAutoencoder
from training.statistics import calibrate, embedding_statistics, some_rows
from training.world import World, joined


@dataclass(frozen=True)
class Progress:
    """How far a run is. ``steps`` is its length, with a budget of ``minutes`` known once the warm-up is over;
    ``seconds`` is the time spent in steps; ``loss`` and ``validation`` are the last ones logged."""

    step: int = 0
    steps: int = 0
    minutes: float | None = None
    seconds: float = 0.0
    loss: float | None = None
    validation: float | None = None
    finished: bool = False


def rate(step: int, steps: int, o: Optimiser) -> float:
    """Learning rate of step 1 .. ``steps``: linear to ``lr`` at ``warmup``, then half a cosine to ``final_lr``."""
    if step <= o.warmup:
        return o.lr * step / o.warmup
    done = min((step - o.warmup) / max(steps - o.warmup, 1), 1.0)
    return o.final_lr + 0.5 * (o.lr - o.final_lr) * (1 + math.cos(math.pi * done))


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameters with and without weight decay: matrices have it, biases, norms, tokens and fill patches do not."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        special = parameter.ndim < 2 or name.rsplit(".", 1)[-1] in ("cls_token", "mask_token", "fill")
        (free if special else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def batches(cutouts: Cutouts, config: Config, world: World, step: int) -> Iterator[Batch]:
    """This process's micro-batches, ``accumulate`` a step, from the one after ``step`` on, for ever."""
    o = config.optimiser
    micro = o.batch // o.accumulate // world.size
    if micro * o.accumulate * world.size != o.batch:
        raise ScannerError("config.bad", f"batch {o.batch} does not divide by {o.accumulate} x {world.size} processes.")

    def make(number: int) -> Batch:
        start = (number * world.size + world.rank) * micro
        keys = keys_of(np.arange(start, start + micro), len(cutouts), config.run.seed)
        return batch_of(cutouts, keys, config.augment, config)

    return prefetched(make, step * o.accumulate)


class Trainer:
    """Model, optimiser and progress of one process."""

    def __init__(self, config: Config, world: World, cutouts: Cutouts, shards: Path, start: Checkpoint | None) -> None:
        self.config, self.world, self.cutouts = config, world, cutouts
        self.data = {"manifest_sha256": cutouts.digest, "sources": cutouts.sources, "manifest": cutouts.manifest}
        self.validation = open_cutouts(shards, config, VALIDATE)
        torch.manual_seed(config.run.seed)
        self.model = MaskedAutoencoder(config.model)
        if start is None:
            calibrate(self.model, cutouts, config)
        else:
            self.model.load_state_dict(start.weights)
        self.model.to(world.device)
        self.wrapped = world.wrap(self.model)
        o = config.optimiser
        self.optimiser = torch.optim.AdamW(groups(self.model, o.weight_decay), lr=o.lr, betas=o.betas)
        if start is not None:
            restore_optimiser(self.optimiser, start.optimiser)

    def step(self, stream: Iterator[Batch], lr: float) -> Tensor:
        """One optimiser step over ``accumulate`` micro-batches; returns their mean loss."""
        accumulate, total = self.config.optimiser.accumulate, torch.zeros((), device=self.world.device)
        for micro in range(accumulate):
            hold = self.world.size > 1 and micro < accumulate - 1
            with self.wrapped.no_sync() if hold else nullcontext():
                loss = self.loss(self.wrapped, next(stream)) / accumulate
                loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimiser.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        self.optimiser.zero_grad()
        return total

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        bfloat16 = self.config.run.precision == "bfloat16"
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=bfloat16):
            return model(*batch.to(self.world.device)).loss

    @torch.no_grad()
    def validate(self) -> float | None:
        """Mean loss over held-out cutouts, centred, whole, and masked the same way every time; None without any."""
        if not len(self.validation):
            return None
        self.model.eval()
        keys = some_rows(self.validation, self.config.run.validate_rows, self.config.run.seed)
        parts = np.array_split(keys, math.ceil(len(keys) / 256))
        losses = [float(self.loss(self.model, batch_of(self.validation, part, CENTRED, self.config))) for part in parts]
        self.model.train()
        return float(np.average(losses, weights=[len(part) for part in parts]))

    def checkpoint(self, progress: Progress, final: bool = False) -> Checkpoint:
        found = {}
        if final:
            found = embedding_statistics(self.model, self.cutouts, self.config, self.world.device)
        optimiser = optimiser_tensors(self.optimiser)
        return Checkpoint(self.config, vars(progress), self.data, self.model.state_dict(), optimiser, found)


def pretrain(config: Config, shards: Path, out: Path, resume: bool = False, minutes: float | None = None) -> int:
    """Train into the folder ``out``: ``checkpoint.safetensors``, ``log.jsonl``, ``loss.png``.

    ``resume`` goes on from the checkpoint of ``out`` where there is one, and then its configuration must be this one.
    ``minutes`` replaces ``optimiser.steps`` by what fits. Returns the signal that stopped the run, or 0 at its end.
    """
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    start = _start(config, out, resume)
    progress = Progress(**start.progress) if start else _fresh(config.optimiser, minutes)
    if progress.finished:
        return 0
    with joined() as world:
        cutouts = open_cutouts(shards, config)
        _same_data(cutouts, start, shards)
        trainer = Trainer(config, world, cutouts, shards, start)
        journal = Journal(out, progress.step) if world.first else None
        progress = _loop(trainer, progress, journal, out / NAME)
        if not world.stopped_by:
            progress = replace(progress, finished=True)
        if world.first:
            save(trainer.checkpoint(progress, final=progress.finished), out / NAME)
        if journal:
            journal.draw()
        return world.stopped_by


def _loop(trainer: Trainer, progress: Progress, journal: Journal | None, path: Path) -> Progress:
    """Steps until the end or a signal; logs, validates and saves on the way."""
    run, o, world = trainer.config.run, trainer.config.optimiser, trainer.world
    stream = batches(trainer.cutouts, trainer.config, world, progress.step)
    while progress.step < progress.steps and not world.agree(world.stopped_by):
        began, step = time.perf_counter(), progress.step + 1
        lr = rate(step, progress.steps, o)
        loss = trainer.step(stream, lr)
        logged = step % run.log_every == 0 or step == progress.steps
        value = world.mean(loss) if logged else progress.loss
        progress = replace(progress, step=step, loss=value, seconds=progress.seconds + time.perf_counter() - began)
        if step == o.warmup and progress.minutes:
            progress = replace(progress, steps=_affordable(progress, world))
        if journal and logged:
            _log(journal, progress, lr, o.batch)
        if step % run.validate_every == 0 or step == progress.steps:
            progress = _validated(trainer, progress, journal)
        if world.first and step % run.checkpoint_every == 0:
            save(trainer.checkpoint(progress), path)
    world.stopped_by = int(world.agree(world.stopped_by))
    return progress


def _fresh(o: Optimiser, minutes: float | None) -> Progress:
    return Progress(steps=max(o.steps, o.warmup + 1) if minutes else o.steps, minutes=minutes)


def _affordable(progress: Progress, world: World) -> int:
    """The length of a run with a time budget, from the speed of its warm-up."""
    each = world.agree(progress.seconds) / progress.step
    return max(int((progress.minutes or 0) * 60 / each), progress.step)


def _log(journal: Journal, progress: Progress, lr: float, batch: int) -> None:
    each = progress.seconds / progress.step
    numbers = {"loss": progress.loss or 0.0, "lr": lr}
    journal.write(step=progress.step, **numbers, images=progress.step * batch, seconds=round(progress.seconds, 3))
    journal.tell(progress.step, progress.steps, each, batch / each, **numbers)


def _validated(trainer: Trainer, progress: Progress, journal: Journal | None) -> Progress:
    if journal and (found := trainer.validate()) is not None:
        journal.write(step=progress.step, validation=found)
        return replace(progress, validation=found)
    return progress


def _start(config: Config, out: Path, resume: bool) -> Checkpoint | None:
    out.mkdir(parents=True, exist_ok=True)
    remove_stale(out)
    if not (out / NAME).is_file():
        return None
    if not resume:
        raise ScannerError("run.exists", f"{out} already holds a run.", "Give --resume, or another --out.")
    start = load(out / NAME)
    if start.config != config:
        raise ScannerError("run.other_config", f"{out} was begun with another configuration.", "Give another --out.")
    return start


def _same_data(cutouts: Cutouts, start: Checkpoint | None, shards: Path) -> None:
    if start and start.data["manifest_sha256"] != cutouts.digest:
        raise ScannerError("run.other_data", f"{shards} is not what this run was begun with.", "Give another --out.")
    if not len(cutouts):
        raise ScannerError("shards.empty", f"{shards} has no training cutouts.")
