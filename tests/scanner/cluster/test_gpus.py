"""Workers of one machine share out its GPUs, whoever started them and whatever they are called."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed")

from catalogs.errors import ScannerError
from scanner.cluster import gpus, worker
from scanner.cluster.job import WorkerJob
from scanner.encoder import session

FOUR = ["a", "b", "c", "d"]
HOLDER = """
import sys
from scanner.cluster import gpus
gpus.visible = lambda: sys.argv[1].split(",")
with gpus.take_device("cuda") as device:
    print(device, flush=True)
    sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def sees(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Says which GPUs a worker sees, in its order."""
    return lambda names: monkeypatch.setattr(gpus, "visible", lambda: names)


@pytest.mark.parametrize("device", ["auto", "cuda", "tensorrt"])
def test_each_takes_one_that_the_fewest_have(sees: Callable[[list[str]], None], device: str) -> None:
    """Of LocalCluster, or of one job: all see the same. With more workers than GPUs they go round."""
    sees(FOUR)
    kind = "tensorrt" if device == "tensorrt" else "cuda"
    with contextlib.ExitStack() as workers:
        found = [workers.enter_context(gpus.take_device(device)) for _ in range(6)]
    assert found == [f"{kind}:{number}" for number in (0, 1, 2, 3, 0, 1)]


def test_workers_of_dask_cuda_take_the_first_they_see(sees: Callable[[list[str]], None]) -> None:
    """Each sees all, its own first, in whatever order they come up."""
    with contextlib.ExitStack() as workers:
        for first in (2, 0, 3, 1):
            sees(FOUR[first:] + FOUR[:first])
            assert workers.enter_context(gpus.take_device("cuda")) == "cuda:0"


def test_one_that_is_free_again_is_taken_again(sees: Callable[[list[str]], None]) -> None:
    sees(FOUR[:2])
    with gpus.take_device("cuda") as first:
        with gpus.take_device("cuda") as second:
            assert (first, second) == ("cuda:0", "cuda:1")
        with gpus.take_device("cuda") as second:
            assert second == "cuda:1"


def test_processes_know_of_each_other_and_the_dead_hold_nothing(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", HOLDER, "a,b"],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    workers = []
    try:
        for expected in ("cuda:0", "cuda:1"):
            workers.append(start())
            assert says(workers[-1]) == expected
        workers[0].kill()
        workers[0].wait()
        workers.append(start())
        assert says(workers[-1]) == "cuda:0"
    finally:
        for process in workers:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("device", "on_cpu", "names", "expected"),
    [
        ("cpu", False, FOUR, "cpu"),
        ("cuda:2", False, FOUR, "cuda:2"),
        ("auto", True, FOUR, "cpu"),
        ("auto", False, [], "cpu"),
        ("cuda", False, [], "cuda"),  # which is refused where it is opened
    ],
)
def test_what_is_settled_is_not_shared_out(
    sees: Callable[[list[str]], None], tmp_path: Path, device: str, on_cpu: bool, names: list[str], expected: str
) -> None:
    sees(names)
    with gpus.take_device(device, on_cpu) as found:
        assert found == expected
    assert not list(tmp_path.iterdir())


def test_gpus_are_told_apart_by_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def device_get(device: Any, number: int) -> int:
        device._obj.value = number + 5
        return 0

    def uuid_of(name: Any, device: Any) -> int:
        name.raw = bytes([device.value] * 16)
        return 0

    driver = SimpleNamespace(cuDeviceGet=device_get, cuDeviceGetUuid=uuid_of)
    monkeypatch.setattr(session, "gpu_count", lambda: 2)
    monkeypatch.setattr(session, "driver", lambda: driver)
    assert gpus.visible() == ["05" * 16, "06" * 16]


def test_a_gpu_that_does_not_work_is_a_cpu_only_where_the_choice_was_free(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int | None]] = []

    def encoder(model: str, device: str, cores: int | None, *_: object) -> str:
        opened.append((device, cores))
        if device != "cpu":
            raise ScannerError("device.unavailable", "No cuDNN.")
        return "session"

    monkeypatch.setattr(worker, "Encoder", encoder)
    made: dict[str, Any] = dict.fromkeys(("survey", "options", "run", "model")) | {"catalogue": Path("out")}
    assert worker.open_encoder(WorkerJob(**made, device="auto", cores=3), "cuda:1") == "session"
    assert opened == [("cuda:1", None), ("cpu", 3)]
    with pytest.raises(ScannerError):
        worker.open_encoder(WorkerJob(**made, device="cuda", cores=3), "cuda:1")
