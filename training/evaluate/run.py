"""Evaluation of several models by the same tasks on the same cutouts.

>>> bench = Bench(Path("data"), tasks=["retrieval", "few-shot"])
>>> found = bench.measure("encoder.onnx")  # the first call cuts the cutouts, which serve all models
>>> found["encoder"]["retrieval"].estimates["mAP matched"].value
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from catalogs.errors import ErrorCode, ScannerError
from training.evaluate import BASELINES, RANDOM_WEIGHTS, baselines
from training.evaluate.embeddings import Embeddings, ShortEmbeddings
from training.evaluate.models import OnnxEncoder, TurnAverage
from training.evaluate.results import Results, TaskResult, average_seeds
from training.evaluate.sets import Sets
from training.evaluate.tasks import PAINTED, SIMULATED, TASKS

Task = Callable[[Sets, Embeddings], TaskResult]
Say = Callable[[str], None]

RECONSTRUCTION = "reconstruction"
CACHE = Path("build") / "evaluation"
SIDE, SEEDS = 96, 3


class Bench:
    """Tasks and their cutouts, which are made once and serve any number of models.

    ``tasks`` are by default all whose data are given. ``side`` is the side of the cutouts in pixels, at least that of
    the largest model. ``painted`` is a folder of shards with painted lenses, which the tasks of ``PAINTED`` need.

    Raises:
        ScannerError: ``evaluate.no_task``.
    """

    def __init__(
        self,
        data: Path,
        tasks: Sequence[str] | None = None,
        cache: Path = CACHE,
        side: int = SIDE,
        threads: int = 2,
        say: Say = lambda _: None,
        painted: Path | None = None,
    ) -> None:
        if tasks is None:
            tasks = [task for task in TASKS if painted is not None or task not in PAINTED]
        for task in tasks:
            if task not in TASKS:
                raise ScannerError(
                    ErrorCode.EVALUATE_NO_TASK, f"There is no task {task!r}.", f"Tasks: {', '.join(TASKS)}."
                )
        self.tasks, self.threads, self._say = tuple(tasks), threads, say
        self.sets = Sets(data, cache, side, threads, painted)

    def measure(self, model: str | Path, turns: bool = False, short: int = 0, seeds: int = SEEDS) -> dict[str, Results]:
        """Measure a baseline, by its name, or an ONNX file; returns results by column of the table.

        ``turns`` adds a column of the mean over 8 flips and turns, ``short`` one of that many first dimensions. Random
        weights are the mean of ``seeds`` networks.

        Raises:
            ScannerError: ``evaluate.window`` for a model that needs larger cutouts, and what ``OnnxEncoder`` raises.
        """
        if str(model) in BASELINES:
            return {str(model): self._baseline(str(model), seeds)}
        encoder = OnnxEncoder(Path(model), self.threads)
        if encoder.side > self.sets.side:
            message = f"{model} needs cutouts of {encoder.side} px; these have {self.sets.side}."
            raise ScannerError(ErrorCode.EVALUATE_WINDOW, message, "Give Bench a larger side.")
        # An encoder needs no fit: it is the same for all sets.
        name, plain = encoder.name, Embeddings(lambda _: encoder, encoder.side)
        results = {name: self.measured(name, plain)}
        if short:
            results[f"{name}, first {short}"] = self.measured(f"{name}, first {short}", ShortEmbeddings(plain, short))
        if turns:
            eight = TurnAverage(encoder)
            results[f"{name}, 8 turns"] = self.measured(f"{name}, 8 turns", Embeddings(lambda _: eight, eight.side))
        return results

    def measured(self, name: str, embeddings: Embeddings) -> dict[str, TaskResult]:
        """Measure any embeddings; ``name`` is for messages."""
        results = {}
        for task in self.tasks:
            self._say(f"{name}: {task}")
            function: Task = resolve_name(f"training.evaluate.tasks.{TASKS[task]}")
            results[task] = function(self.sets, embeddings)
        return results

    def _baseline(self, name: str, seeds: int) -> dict[str, TaskResult]:
        # Only random weights depend on the seed.
        numbers = range(seeds if name == RANDOM_WEIGHTS else 1)
        measured = [
            self.measured(
                f"{name} {seed}",
                Embeddings(lambda flux, seed=seed: baselines.fit(name, flux, seed), baselines.SIDE),  # type: ignore[misc]
            )
            for seed in numbers
        ]
        return average_seeds(measured)


def compare(
    models: Sequence[str],
    data: Path,
    tasks: Sequence[str] | None = None,
    cache: Path = CACHE,
    turns: bool = False,
    short: int = 0,
    seeds: int = SEEDS,
    checkpoints: Sequence[Path] = (),
    threads: int = 2,
    say: Say = lambda _: None,
    painted: Path | None = None,
) -> tuple[dict[str, Results], dict[str, Any]]:
    """Measure ``models``: returns results by column, in their order, and a description of the evaluation.

    A second encoder of the same name gets a column with its path.
    """
    # Cutouts have the side of the largest model; the others take the middle of them.
    sides = [OnnxEncoder(Path(model)).side for model in models if model not in BASELINES]
    bench = Bench(data, tasks, cache, max([baselines.SIDE, *sides]), threads, say, painted)
    results: dict[str, Results] = {}
    for model in models:
        measured = bench.measure(model, turns, short, seeds)
        results |= {(f"{name} ({model})" if name in results else name): result for name, result in measured.items()}
    for checkpoint in checkpoints:
        from training.evaluate.tasks.reconstruction import reconstruction

        say(f"{checkpoint}: {RECONSTRUCTION}")
        name, filled = reconstruction(checkpoint, bench.sets, simulated=any(task in SIMULATED for task in bench.tasks))
        results[name] = {**results.get(name, {}), RECONSTRUCTION: filled}
    return results, {"models": list(models), "tasks": list(bench.tasks), "seeds": seeds, "side": bench.sets.side}
