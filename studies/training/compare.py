"""Comparison of ways to train, each from random weights and for the same compute, on the same cutouts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from catalogs.atomic import write_text
from catalogs.records import load_json, load_toml, read_record
from studies.training.compute import spending
from studies.training.runs import StoppedError, folder_name, merge, restore, store
from studies.training.vectors import Baked, Encoded, baked
from training.config import Config
from training.evaluate.embeddings import Embeddings
from training.evaluate.results import Results
from training.evaluate.run import Bench
from training.loop.checkpoint import Checkpoint, load
from training.loop.journal import read_log
from training.loop.pretrain import pretrain
from training.model.embedding_options import EmbeddingOptions

PLAN = Path(__file__).with_name("recipes.toml")


@dataclass(frozen=True)
class Plan:
    """``variants`` are complete configurations by name; the others are compared with the first."""

    variants: Mapping[str, Config]
    flops: float
    tasks: tuple[str, ...]
    options: EmbeddingOptions


@dataclass(frozen=True)
class Trained:
    """A variant after training and measuring; ``minutes`` is the time of its steps on this machine."""

    name: str
    steps: int
    images: int
    minutes: float
    results: Results


def read(path: Path = PLAN) -> Plan:
    """Read the plan of a TOML file, with the number of steps that ``flops`` allow.

    Raises:
        ScannerError: ``config.bad``.
    """
    plan = load_toml(path)
    variants = {
        name: spending(Config.from_dict(merge(plan["config"], {"name": name}, differs), str(path)), plan["flops"])
        for name, differs in plan["variants"].items()
    }
    return Plan(variants, plan["flops"], tuple(plan["tasks"]), read_record(plan["recipe"], EmbeddingOptions))


def compare(plan: Plan, shards: Path, data: Path, out: Path, say: Callable[[str], None]) -> Iterator[Trained]:
    """Train and measure every variant in its own folder below ``out``; finished ones are skipped.

    Raises ``StoppedError`` where a signal ends it, and what ``pretrain`` and the tasks raise.
    """
    # All variants are measured on the same objects, with cutouts large enough for each.
    side = max(config.model.window for config in plan.variants.values())
    bench = Bench(data, plan.tasks, side=side, say=say)
    for name, config in plan.variants.items():
        folder = out / folder_name(name)
        if number := pretrain(config, shards, folder, resume=True):
            raise StoppedError(number)
        checkpoint, o = load(folder), config.optimiser
        results = _measured(bench, checkpoint, plan.options, folder / "measured.json")
        images = o.steps * o.batch * config.objective.views
        yield Trained(name, o.steps, images, _step_seconds(folder) * o.steps / 60, results)


def _measured(bench: Bench, checkpoint: Checkpoint, options: EmbeddingOptions, path: Path) -> Results:
    """Measure a checkpoint, or read the results from the file ``path`` if they are of the same weights and options.

    Results of an earlier version are measured again.
    """
    # A stored result is valid only for the same weights, options and tasks.
    question = {"weights": checkpoint.weights_sha256, "recipe": asdict(options), "tasks": list(bench.tasks)}
    if path.is_file() and (stored := load_json(path))["asked"] == question:
        kept = restore(stored["results"])
        if kept is not None:
            return kept
    encoded = Encoded(checkpoint)
    rows = Embeddings(lambda _: encoded, encoded.side)
    results = bench.measured(checkpoint.config.name, Baked(rows, baked(checkpoint, options)))
    write_text(path, json.dumps({"asked": question, "results": store(results)}) + "\n")
    return results


def _step_seconds(folder: Path) -> float:
    """Compute the time of a step: the median between lines of the log, which ignores pauses."""
    steps = [(record["step"], record["seconds"]) for record in read_log(folder) if "seconds" in record]
    pairs = pairwise(steps)
    return median([(t1 - t0) / (s1 - s0) for (s0, t0), (s1, t1) in pairs] or [steps[-1][1] / steps[-1][0]])
