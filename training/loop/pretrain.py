"""Pre-training of the masked autoencoder: one loop, with the same steps whether it is interrupted or not.

A step is a function of configuration, shards, weights, optimiser state and step number. Batches and masks come from
(seed, epoch, row), the network draws no random number, and the schedule depends on the step alone.

Over processes or micro-batches a step sees the same views of the same cutouts and averages its parts: means over valid
pixels and over labels are then means of means. Views are compared with those of all processes, but only within one
micro-batch, so a comparison is as large as ``batch / accumulate``.

A time budget becomes a number of steps. The warm-up (whose learning rate does not depend on the end), a validation and
a checkpoint are timed; the number of steps that fit is then fixed and kept in the checkpoint, and the cosine runs over
them. A run with a budget therefore resumes as exactly as any other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from catalogs.atomic import locked, make_folder, remove_stale
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import read_record
from training.config import Config, Optimiser
from training.loop.batches import Cutouts, open_cutouts
from training.loop.checkpoint import NAME, Checkpoint, load, save
from training.loop.journal import Journal
from training.loop.processes import join_processes
from training.loop.trainer import Trainer, batches

LOCK = ".lock"
"""Held by the process that writes into the folder of a run."""
TIMED = 10
"""Least number of steps that are timed before the length of a run with a budget is fixed."""


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    ``steps`` is its length, which is a guess until a budget of ``minutes`` has ``planned`` it. ``seconds`` is the time
    since its first step, over all calls. ``loss`` and ``validation`` are the last ones logged.
    """

    step: int = 0
    steps: int = 0
    minutes: float | None = None
    seconds: float = 0.0
    loss: float | None = None
    validation: float | None = None
    finished: bool = False
    planned: bool = True


def rate(step: int, steps: int, o: Optimiser) -> float:
    """Compute the learning rate of step 1 .. ``steps``: linear up to ``warmup``, then half a cosine to ``final_lr``.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.
    """
    if step <= o.warmup:
        return o.lr * step / o.warmup
    done = min((step - o.warmup) / max(steps - o.warmup, 1), 1.0)
    return o.final_lr + 0.5 * (o.lr - o.final_lr) * (1 + math.cos(math.pi * done))


def pretrain(
    config: Config,
    shards: Path,
    out: Path,
    resume: bool = False,
    minutes: float | None = None,
    begin: Path | None = None,
    tensorboard: bool = False,
) -> int:
    """Train into the folder ``out``: ``checkpoint.safetensors``, ``log.jsonl``, ``loss.png``.

    With ``resume`` the run continues from the checkpoint in ``out``, if there is one. ``minutes`` replaces
    ``optimiser.steps`` by what fits, over all calls: validations and checkpoints count, the statistics at the end do
    not. A new run starts from the weights of the checkpoint ``begin``, if one is given. Returns the number of the
    signal that stopped the run, or 0 at its end. While another process trains into ``out``, the call waits for it.

    Raises:
        ScannerError: ``config.bad``, ``run.exists``, ``run.other_config``, ``run.other_data``, ``run.other_minutes``,
            ``run.other_model``, ``shards.*``, ``checkpoint.*`` or ``tensorboard.missing``.
    """
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    with join_processes() as world, ExitStack() as held:
        # A run that is started twice would step twice from one checkpoint: the second call waits and finds it finished.
        if world.first:
            held.enter_context(locked(out / LOCK))
        world.agree(0)
        start = _find_start(config, out, resume)
        progress = _resume(start, minutes, out) if start else _begin(config.optimiser, minutes)
        if progress.finished:
            return 0
        # Every process maps the shards; only the first one writes.
        cutouts = open_cutouts(shards, config)
        _check_data(cutouts, start, shards)
        trainer = Trainer(config, world, cutouts, shards, start, begin if start is None else None)
        journal = Journal(out, progress.step, tensorboard) if world.first else None
        progress = _loop(trainer, progress, journal, out / NAME)
        # The last checkpoint is final: it has the statistics of the embeddings, and cannot be continued.
        if not world.stopped_by:
            progress = replace(progress, finished=True)
        if world.first:
            _save(trainer, progress, out / NAME)
        if journal:
            journal.close()
        return world.stopped_by


def _loop(trainer: Trainer, progress: Progress, journal: Journal | None, path: Path) -> Progress:
    """Take steps until the end or a signal; log, validate and save on the way."""
    run, o, world = trainer.config.run, trainer.config.optimiser, trainer.world
    stream = batches(trainer.cutouts, trainer.config, world, progress.step)
    began = time.perf_counter() - progress.seconds  # as if the run had never stopped
    # All processes have to leave the loop at the same step, or the others would wait for a gradient.
    while progress.step < progress.steps and not world.agree(world.stopped_by):
        step = progress.step + 1
        lr = rate(step, progress.steps, o)
        parts = trainer.step(stream, lr)  # [P], those of ``trainer.stage.parts``
        progress = replace(progress, step=step, seconds=time.perf_counter() - began)

        # With a time budget the length is fixed once, after the warm-up, whose rate does not depend on it.
        if not progress.planned and step >= _timed_steps(o):
            progress = replace(progress, steps=_fit_steps(trainer, progress, path), planned=True)

        # Averages over the processes need all of them, so they are taken whether or not this one keeps the journal.
        means = world.mean(parts) if step % run.log_every == 0 or step == progress.steps else None
        if means:
            progress = replace(progress, loss=means[0])
        if journal and means:
            _log(journal, progress, trainer.config, trainer.stage.parts, means, lr=lr, waited=stream.waited)

        if step % run.validate_every == 0 or step == progress.steps:
            progress = _validate(trainer, progress, journal)
        if world.first and step % run.checkpoint_every == 0:
            _save(trainer, progress, path)
    world.stopped_by = int(world.agree(world.stopped_by))
    return replace(progress, seconds=time.perf_counter() - began)


def _begin(o: Optimiser, minutes: float | None) -> Progress:
    return Progress(steps=max(o.steps, _timed_steps(o)) if minutes else o.steps, minutes=minutes, planned=not minutes)


def _resume(start: Checkpoint, minutes: float | None, out: Path) -> Progress:
    """Read where the run stopped; its length stays what it was when it began."""
    progress = read_record(start.progress, Progress)
    if minutes and minutes != progress.minutes:
        begun = f"for {progress.minutes:g} minutes" if progress.minutes else "without --minutes"
        hint = "Give the same --minutes, on which the learning rate depends, or another --out."
        raise ScannerError(ErrorCode.RUN_OTHER_MINUTES, f"{out} was begun {begun}, not for {minutes:g}.", hint)
    return progress


def _timed_steps(o: Optimiser) -> int:
    return max(o.warmup, TIMED)


def _fit_steps(trainer: Trainer, progress: Progress, path: Path) -> int:
    """Compute the number of steps that a time budget allows, from the speed so far, a validation and a checkpoint."""
    run, world = trainer.config.run, trainer.world
    each, left = progress.seconds / progress.step, (progress.minutes or 0) * 60 - progress.seconds
    # A step pays its share of the validations and checkpoints that are due between steps.
    works = ((run.validate_every, trainer.validate), (run.checkpoint_every, lambda: _save(trainer, progress, path)))
    for every, work in works:
        began = time.perf_counter()
        if world.first:
            work()
        each += (time.perf_counter() - began) / every
    # The slowest process decides: the others wait for it at every step.
    return progress.step + int(max(world.agree(left), 0) / world.agree(each))


def _log(
    journal: Journal, progress: Progress, config: Config, names: Sequence[str], means: list[float], lr: float,
    waited: float,
) -> None:  # fmt: skip
    """Write a record and a line of progress; terms of weight 0 are left out.

    ``waited`` is the time in seconds that this call has waited for batches: if it grows, the loader is the bottleneck.
    """
    each, images = progress.seconds / progress.step, config.optimiser.batch * config.objective.views
    weights = vars(config.objective) | {"loss": 1.0}
    numbers = {name: mean for name, mean in zip(names, means, strict=True) if weights[name]}
    numbers["lr"] = lr
    times = {"seconds": round(progress.seconds, 3), "waited": round(waited, 3)}
    journal.write(step=progress.step, **numbers, images=progress.step * images, **times)
    journal.report(progress.step, progress.steps, each, images / each, **numbers)


def _validate(trainer: Trainer, progress: Progress, journal: Journal | None) -> Progress:
    if journal and (loss := trainer.validate()) is not None:
        journal.write(step=progress.step, validation=loss)
        return replace(progress, validation=loss)
    return progress


def _save(trainer: Trainer, progress: Progress, path: Path) -> None:
    save(trainer.checkpoint(vars(progress), final=progress.finished), path)


def _find_start(config: Config, out: Path, resume: bool) -> Checkpoint | None:
    make_folder(out)
    remove_stale(out)
    if not (out / NAME).is_file():
        return None
    if not resume:
        raise ScannerError(ErrorCode.RUN_EXISTS, f"{out} already holds a run.", "Give --resume, or another --out.")
    start = load(out / NAME)
    if start.config != config:
        raise ScannerError(
            ErrorCode.RUN_OTHER_CONFIG, f"The run in {out} was begun with another configuration.", "Give another --out."
        )
    return start


def _check_data(cutouts: Cutouts, start: Checkpoint | None, shards: Path) -> None:
    if start and start.data["manifest_sha256"] != cutouts.digest:
        raise ScannerError(ErrorCode.RUN_OTHER_DATA, f"{shards} are not the shards of this run.", "Give another --out.")
    if not len(cutouts):
        raise ScannerError(ErrorCode.SHARDS_EMPTY, f"{shards} has no training cutouts.")
