"""A run can be killed at any moment, resumed, budgeted and spread over processes, and stays the same run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from catalogs.errors import ScannerError
from training.config import Config
from training.loop.checkpoint import NAME, load, stages
from training.loop.journal import read_log
from training.loop.pretrain import TIMED, pretrain, rate
from training.loop.trainer import Trainer, parameter_groups

CONFIG = Path(__file__).parents[3] / "training" / "configs" / "tiny.toml"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def curve(out: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in read_log(out) if "loss" in record}


def command(config: Path, shards: Path, out: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "training",
        "pretrain",
        str(config),
        "--shards",
        str(shards),
        "--out",
        str(out),
        *more,
    ]


SIGNAL_TO_ITSELF = """
import os
from training.__main__ import main
from training.loop.journal import Journal
def write_and_end(self, step, write=Journal.write, **numbers):
    write(self, step, **numbers)
    if step == 60 and "loss" in numbers:
        os.kill(os.getpid(), {number})
Journal.write = write_and_end
main()
"""


def disturbed(config: Path, shards: Path, out: Path, number: signal.Signals) -> int:
    """Status of a run that gets a signal when it has written its 60th step."""
    program = SIGNAL_TO_ITSELF.format(number=int(number))
    run = [sys.executable, "-c", program, *command(config, shards, out)[3:]]
    return subprocess.run(run, env=ONE_THREAD, stderr=subprocess.DEVNULL, check=False).returncode


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.toml with steps enough to be disturbed in the middle, averaged weights and all that can be learned."""
    path = tmp_path_factory.mktemp("config") / "long.toml"
    longer = CONFIG.read_text().replace("steps = 30", "steps = 200\nema = 0.95").replace("every = 10", "every = 25")
    path.write_text(longer + "\n[objective]\ncontrast = 1.0\nsimulated = 0.5\n")
    return path


@pytest.fixture(scope="module")
def undisturbed(long: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.config import read

    out = tmp_path_factory.mktemp("undisturbed")
    assert pretrain(read(long), shards, out) == 0
    return out


def test_the_loss_falls_and_the_run_leaves_its_files(undisturbed: Path) -> None:
    losses = list(curve(undisturbed).values())
    assert len(losses) == 200
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:5])
    validation = [record["validation"] for record in read_log(undisturbed) if "validation" in record]
    assert len(validation) == 8
    assert validation[-1] < validation[0]
    assert (undisturbed / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_views_find_each_other_and_the_simulator_is_recognised(undisturbed: Path) -> None:
    curves = {
        term: [record[term] for record in read_log(undisturbed)[1:] if term in record]
        for term in ("contrast", "simulated")
    }
    assert len(curves["contrast"]) == 199
    assert np.mean(curves["contrast"][-20:]) < 0.98 * np.log(2 * 16 - 1)  # of guessing among the other views
    assert np.mean(curves["simulated"][-20:]) < 0.98 * np.mean(curves["simulated"][:5])


def test_a_killed_run_resumes_to_the_same_curve_and_weights(
    long: Path, shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    assert disturbed(long, shards, tmp_path, signal.SIGKILL) == -signal.SIGKILL
    assert load(tmp_path).progress["step"] == 50
    from training.config import read

    assert pretrain(read(long), shards, tmp_path, resume=True) == 0
    assert curve(tmp_path) == curve(undisturbed)
    resumed, whole = load(tmp_path), load(undisturbed)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert all(torch.equal(resumed.statistics[how].rotation, whole.statistics[how].rotation) for how in ("mean", "cls"))


def test_sigterm_saves_the_last_step_and_says_so(long: Path, shards: Path, tmp_path: Path) -> None:
    assert disturbed(long, shards, tmp_path, signal.SIGTERM) == 128 + signal.SIGTERM
    checkpoint = load(tmp_path)
    assert checkpoint.progress["step"] == max(curve(tmp_path)) == 60
    assert not checkpoint.progress["finished"]


def test_an_interrupted_run_goes_on_where_it_stopped(
    shards: Path, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step_and_interrupt(trainer: Trainer, stream: Any, lr: float) -> torch.Tensor:
        parts = honest(trainer, stream, lr)
        if trainer.optimiser.state_dict()["state"][0]["step"] == 7:
            signal.raise_signal(signal.SIGINT)
        return parts

    honest = Trainer.step
    monkeypatch.setattr(Trainer, "step", step_and_interrupt)
    assert pretrain(tiny, shards, tmp_path / "stopped") == signal.SIGINT
    assert load(tmp_path / "stopped").progress["step"] == 7
    assert pretrain(tiny, shards, tmp_path / "stopped", resume=True) == 0
    monkeypatch.undo()
    pretrain(tiny, shards, tmp_path / "whole")
    assert curve(tmp_path / "stopped") == curve(tmp_path / "whole")


def test_a_run_that_is_started_twice_is_one_run(long: Path, shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    """The second call waits for the first, and finds the run finished."""
    both = [
        subprocess.Popen(command(long, shards, tmp_path, "--resume"), env=ONE_THREAD, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [one.wait() for one in both] == [0, 0]
    steps = [record["step"] for record in read_log(tmp_path) if "loss" in record]
    assert steps == sorted(set(steps)), "no step was taken by both"
    assert load(tmp_path).weights_sha256 == load(undisturbed).weights_sha256


def test_two_processes_train_as_one(shards: Path, tiny: Config, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    module = command(CONFIG, shards, tmp_path / "two")[1:]
    subprocess.run([*torchrun, *module], env=ONE_THREAD, check=True, capture_output=True)
    pretrain(replace(tiny, optimiser=replace(tiny.optimiser, steps=30)), shards, tmp_path / "one")
    two, one = curve(tmp_path / "two"), curve(tmp_path / "one")
    assert two.keys() == one.keys()
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=0.05)


def test_accumulated_micro_batches_are_the_same_batch(shards: Path, tiny: Config, tmp_path: Path) -> None:
    halves = replace(tiny, optimiser=replace(tiny.optimiser, accumulate=2))
    pretrain(tiny, shards, tmp_path / "one")
    pretrain(halves, shards, tmp_path / "two")
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=0.05)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of a run: a step takes 10 ms and a validation 100 ms, whatever the machine has to do besides."""
    made = SimpleNamespace(now=0.0)
    for name, takes in (("step", 0.01), ("validate", 0.1)):
        monkeypatch.setattr(Trainer, name, _timed(getattr(Trainer, name), made, takes))
    monkeypatch.setattr(sys.modules[pretrain.__module__], "time", SimpleNamespace(perf_counter=lambda: made.now))
    return made


def _timed(work: Callable[..., Any], clock: SimpleNamespace, takes: float) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        clock.now += takes
        return work(*arguments)

    return timed


def test_a_time_budget_sets_the_steps_and_survives_a_resume(
    shards: Path, tiny: Config, tmp_path: Path, clock: SimpleNamespace
) -> None:
    pretrain(tiny, shards, tmp_path, minutes=0.02)
    progress = load(tmp_path).progress
    assert progress["finished"]
    assert progress["step"] == progress["steps"] > tiny.optimiser.warmup
    assert 1.0 < progress["seconds"] < 1.5  # of 1.2; the validation by which the rest is planned comes on top
    assert clock.now >= progress["seconds"]
    with pytest.raises(ScannerError) as caught:
        pretrain(tiny, shards, tmp_path, resume=True, minutes=0.03)
    assert caught.value.code == "run.other_minutes"
    assert "0.02" in caught.value.message
    assert pretrain(tiny, shards, tmp_path, resume=True, minutes=0.02) == 0
    assert pretrain(tiny, shards, tmp_path, resume=True) == 0


def test_a_time_budget_holds_without_warm_up_and_counts_validations_and_checkpoints(
    shards: Path, tiny: Config, tmp_path: Path, clock: SimpleNamespace
) -> None:
    """Each takes ten times as long as a step, and there is one a step."""
    run = replace(tiny.run, validate_every=1, checkpoint_every=1, log_every=5)
    cold = replace(tiny, run=run, optimiser=replace(tiny.optimiser, warmup=0, steps=10_000))
    pretrain(cold, shards, tmp_path, minutes=0.1)
    progress = load(tmp_path).progress
    assert progress["finished"]
    assert TIMED < progress["step"] == progress["steps"] < 50
    assert 3 < progress["seconds"] < 6.5  # of 6
    assert clock.now >= progress["seconds"]


def test_a_run_that_stops_before_its_length_is_known_gets_it_later(
    shards: Path, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step_and_interrupt(trainer: Trainer, stream: Any, lr: float) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        return honest(trainer, stream, lr)

    honest = Trainer.step
    long = replace(tiny, optimiser=replace(tiny.optimiser, steps=10_000))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step_and_interrupt)
        assert pretrain(long, shards, tmp_path, minutes=0.02) == signal.SIGINT
    assert not load(tmp_path).progress["planned"]
    assert pretrain(long, shards, tmp_path, resume=True) == 0
    progress = load(tmp_path).progress
    assert TIMED <= progress["step"] == progress["steps"] < 10_000


def test_bfloat16_trains(shards: Path, tiny: Config, tmp_path: Path) -> None:
    pretrain(replace(tiny, run=replace(tiny.run, precision="bfloat16")), shards, tmp_path)
    assert np.isfinite(list(curve(tmp_path).values())).all()


def test_a_run_is_not_overwritten_nor_mixed_with_another(shards: Path, tiny: Config, tmp_path: Path) -> None:
    pretrain(replace(tiny, optimiser=replace(tiny.optimiser, steps=2)), shards, tmp_path)
    for resume, code in ((False, "run.exists"), (True, "run.other_config")):
        with pytest.raises(ScannerError) as caught:
            pretrain(tiny, shards, tmp_path, resume)
        assert caught.value.code == code


def test_a_run_can_begin_with_the_weights_of_another(shards: Path, tiny: Config, tmp_path: Path) -> None:
    still = replace(tiny, optimiser=replace(tiny.optimiser, steps=1, warmup=1, lr=0.0, final_lr=0.0))
    pretrain(tiny, shards, tmp_path / "first")
    pretrain(still, shards, tmp_path / "second", begin=tmp_path / "first")
    first, second = load(tmp_path / "first"), load(tmp_path / "second")
    assert second.weights_sha256 == first.weights_sha256 == second.data["began_with"]
    assert second.data["stages"] == stages(first)
    summary = stages(second)
    assert [stage["steps"] for stage in summary] == [20, 1]
    assert summary[0]["images"] == 20 * tiny.optimiser.batch
    other = replace(tiny, model=replace(tiny.model, depth=tiny.model.depth + 1))
    with pytest.raises(ScannerError) as caught:
        pretrain(other, shards, tmp_path / "third", begin=tmp_path / "first")
    assert caught.value.code == "run.other_model"


def test_averaged_weights_are_kept_and_trail_the_last_ones(shards: Path, tiny: Config, tmp_path: Path) -> None:
    saved = replace(tiny.run, checkpoint_every=3)
    averaged = replace(tiny, optimiser=replace(tiny.optimiser, ema=0.5), run=saved)
    weights: list[torch.Tensor] = []

    def stepped(trainer: Trainer, stream: Any, lr: float) -> torch.Tensor:
        parts = honest(trainer, stream, lr)
        weights.append(trainer.stage.kept.pixels.fill.detach().clone())
        if len(weights) == 3:
            signal.raise_signal(signal.SIGINT)
        return parts

    honest = Trainer.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", stepped)
        assert pretrain(averaged, shards, tmp_path) == signal.SIGINT
    expected = 0.25 * weights[0] + 0.25 * weights[1] + 0.5 * weights[2]
    checkpoint = load(tmp_path)
    torch.testing.assert_close(checkpoint.weights["pixels.fill"], expected)
    torch.testing.assert_close(checkpoint.state["mae.pixels.fill"], weights[2])


def test_resuming_a_finished_run_changes_nothing(shards: Path, tiny: Config, tmp_path: Path) -> None:
    short = replace(tiny, optimiser=replace(tiny.optimiser, steps=2))
    pretrain(short, shards, tmp_path)
    before = (tmp_path / NAME).read_bytes()
    assert pretrain(short, shards, tmp_path, resume=True) == 0
    assert (tmp_path / NAME).read_bytes() == before


def test_the_stretch_comes_from_the_sky_noise_of_the_data(shards: Path, tiny: Config, tmp_path: Path) -> None:
    pretrain(replace(tiny, optimiser=replace(tiny.optimiser, steps=1)), shards, tmp_path)
    pixels = load(tmp_path).model().pixels
    np.testing.assert_allclose(pixels.softening.flatten(), [2, 3, 4], rtol=0.15)  # noise of g, r, i in the fixture
    assert ((pixels.std > 0.5) & (pixels.std < 5)).all()


def test_the_schedule_warms_up_and_ends_low(tiny: Config) -> None:
    o = replace(tiny.optimiser, lr=1e-3, final_lr=1e-5, warmup=10)
    rates = [rate(step, 100, o) for step in range(1, 101)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[9] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-5)
    assert all(np.diff(rates[9:]) < 0)


def test_only_matrices_decay(tiny: Config) -> None:
    from training.model.mae import MaskedAutoencoder

    model = MaskedAutoencoder(tiny.model)
    decayed, free = (group["params"] for group in parameter_groups(model, 0.05))
    assert all(p.ndim >= 2 for p in decayed)  # type: ignore[attr-defined]
    assert any(p is model.pixels.fill for p in free)  # type: ignore[attr-defined]
    assert any(p is model.encoder.vit.cls_token for p in free)  # type: ignore[attr-defined]
    assert len(decayed) + len(free) == len(list(model.parameters()))  # type: ignore[arg-type]
