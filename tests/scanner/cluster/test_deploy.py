"""Where workers come from: a batch system asked as its own program would be, and files of settings that are checked."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

pytest.importorskip("dask_jobqueue")

import dask
from distributed import Security
from distributed.comm import CommClosedError, connect

import catalogs
from catalogs.errors import ScannerError
from scanner.cluster import connection, deploy
from scanner.cluster.job import WorkerJob, WorkerSource
from scanner.cluster.run import scan_tiles as scan_on_cluster
from scanner.cluster.worker import Gate
from scanner.cluster.workers import LostError
from scanner.encoder import session
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.scan.run import make_run
from scanner.survey import survey, tile_list
from tests.support import small_tiles

UNIONS = survey.load("unions")
SLURM = """
jobqueue:
  slurm:
    cores: 2
    memory: 4GB
    processes: 1
    queue: gpu
    walltime: "04:00:00"
    interface: lo
    local-directory: {folder}
    job-extra-directives: ["--gres=gpu:1"]
"""
# What sbatch and scancel do, on this machine: the job runs in the background, in a process group of its own.
SBATCH = """#!/bin/sh
cp "$1" "$JOBS/script"
setsid sh "$JOBS/script" >"$JOBS/log" 2>&1 </dev/null &
echo $! >> "$JOBS/pids"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo "$@" >> "$JOBS/cancelled"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which stand-ins for sbatch and scancel leave what they were told."""
    jobs, programs = tmp_path / "jobs", tmp_path / "programs"
    for folder in (jobs, programs):
        folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(jobs))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask"))
    yield jobs
    for pid in (jobs / "pids").read_text().split() if (jobs / "pids").exists() else []:
        try:
            os.killpg(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue


def settings(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "dask.yaml"
    path.write_text(text.format(folder=tmp_path))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in for sbatch uses setsid")
def test_slurm_is_asked_for_workers(encoder: Encoder, tmp_path: Path, slurm: Path) -> None:
    names = small_tiles.names(3)
    for name in names:
        small_tiles.write(tmp_path / "unions", name, size=160, objects=10)
    options = ScanOptions(readers=2)
    run = make_run(UNIONS, encoder, options)
    report = scan_on_cluster(
        [tile_list.find(UNIONS, name, tmp_path / "unions") for name in names],
        UNIONS,
        encoder,
        catalogs.create(tmp_path / "out", run),
        run,
        options,
        WorkerSource(workers=1, config=settings(tmp_path, SLURM)),
        device="cpu",
    )
    assert report.count("done") == 3, (slurm / "log").read_text()
    script = (slurm / "script").read_text()
    assert "#SBATCH -p gpu" in script
    assert "#SBATCH --gres=gpu:1" in script
    # The cores that the file gives, and then the tiles at once, which win.
    assert 0 < script.index("--nthreads 2") < script.index("--nthreads 3")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no settings"),
        ("- 1\n- 2\n", "holds no settings"),
        ("jobqueue: [", "cannot be read"),
        ("distributed: {{scheduler: {{}}}}", "must have a section jobqueue"),
        ("jobqueue: {{slurmm: {{cores: 1}}}}", "slurm"),
        ("jobqueue: {{slurm: {{cores: 1, memory: 1GB}}, pbs: {{cores: 1}}}}", "must have a section jobqueue with one"),
        ("jobqueue: {{slurm: null}}", "has nothing under jobqueue.slurm"),
        (
            "jobqueue: {{slurm: {{cores: 4, memory: 1GB, wall-time: 1}}}}",
            "jobqueue.slurm.wall-time, which is not an option; is it walltime?",
        ),
        ("jobqueue: {{slurm: {{memory: 1GB}}}}", "must say jobqueue.slurm.cores"),
        ("jobqueue: {{slurm: {{cores: 4}}}}", "must say jobqueue.slurm.memory"),
        ("jobqueue: {{slurm: {{cores: 4, memory: much}}}}", "is refused by dask-jobqueue"),
        (
            'jobqueue: {{slurm: {{cores: 4, memory: 1GB, extra: ["--lifetime", "20m"]}}}}',
            "jobqueue.slurm.extra, which is now worker-extra-args",
        ),
        (
            'jobqueue: {{slurm: {{cores: 4, memory: 1GB, env-extra: ["module load x"]}}}}',
            "jobqueue.slurm.env-extra, which is now job-script-prologue",
        ),
    ],
)
def test_a_file_that_asks_for_nonsense_is_refused(
    work: WorkerJob, tmp_path: Path, slurm: Path, text: str, said: str
) -> None:
    with (
        pytest.raises(ScannerError) as caught,
        deploy.cluster(WorkerSource(workers=2, config=settings(tmp_path, text)), work),
    ):
        pass
    assert caught.value.code == "cluster.bad_config"
    assert said in caught.value.message
    assert "docs/guide/many-machines.md" in caught.value.hint
    assert not (slurm / "script").exists()


def test_a_former_name_in_the_settings_of_the_user_is_refused(work: WorkerJob, tmp_path: Path, slurm: Path) -> None:
    """Dask joins the file with the settings in a user's home, and dask-jobqueue would drop the option."""
    text = "jobqueue: {{slurm: {{cores: 4, memory: 1GB}}}}"
    with (
        dask.config.set({"jobqueue.slurm.extra": ["--lifetime", "20m"]}),
        pytest.raises(ScannerError, match=r"jobqueue\.slurm\.extra, which is now worker-extra-args"),
        deploy.cluster(WorkerSource(workers=2, config=settings(tmp_path, text)), work),
    ):
        pass
    assert not (slurm / "script").exists()


@pytest.mark.parametrize("program", ["", "#!/bin/sh\necho invalid partition >&2\nexit 1\n"])
def test_jobs_that_cannot_be_submitted_are_an_error(
    work: WorkerJob, tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    (tmp_path / "programs" / "sbatch").write_text(program)
    if not program:
        for name in ("sbatch", "scancel"):
            (tmp_path / "programs" / name).unlink()
    # Nothing of a batch system that this machine may have.
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}{os.pathsep}/bin{os.pathsep}/usr/bin")
    with (
        pytest.raises(ScannerError) as caught,
        deploy.cluster(WorkerSource(workers=2, config=settings(tmp_path, SLURM)), work),
    ):
        pass
    assert caught.value.code == "cluster.not_started"
    assert ("invalid partition" if program else "sbatch") in caught.value.message


def test_workers_of_this_machine_do_nothing_for_a_stranger(work: WorkerJob) -> None:
    """Any user can reach the ports of a machine, and a scheduler runs what it is sent."""
    with deploy.cluster(WorkerSource(workers=1), work) as connect:
        client = connect()
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert client.submit(abs, -3).result() == 3
        workers = list(client.scheduler_info()["workers"].values())
        everyone = [address, *(one["nanny"] for one in workers), *client.scheduler_info()["workers"]]
        keys = client.security.get_connection_args("client")
        client.close()
        strangers = Security.temporary().get_connection_args("client")
        for target in everyone:
            plain = target.replace("tls://", "tcp://")
            assert asyncio.run(shake_hands(target, keys, 60))
            for where, arguments in ((target, strangers), (target, {}), (plain, {})):
                # Without keys Dask raises TypeError before it connects.
                with pytest.raises((OSError, TypeError)):
                    asyncio.run(shake_hands(where, arguments, 1))


async def shake_hands(address: str, arguments: dict[str, Any], seconds: float) -> bool:
    """Connect as a client does, which tries again for so many seconds, without its thread and its loop."""
    comm = await connect(address, timeout=seconds, **arguments)
    await comm.close()
    return True


@pytest.mark.parametrize(
    ("preload", "limit"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", deploy.START),
        ("import time\ntime.sleep(600)\n", 2.0),
    ],
    ids=["killed", "hangs"],
)
def test_a_worker_that_does_not_come_to_its_work_is_an_error(
    work: WorkerJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preload: str, limit: float
) -> None:
    monkeypatch.setattr(deploy, "START", limit)
    (tmp_path / "preload.py").write_text(preload)
    with (
        dask.config.set({"distributed.worker.preload": [str(tmp_path / "preload.py")]}),
        pytest.raises(ScannerError) as caught,
        deploy.cluster(WorkerSource(workers=2), work),
    ):
        pass
    assert caught.value.code == "cluster.not_started"


class Registering:
    """A client whose first tries to hand out a plugin fail."""

    def __init__(self, failures: int, status: str = "running") -> None:
        self.status, self.failures, self.registered = status, failures, list[str]()

    def register_plugin(self, plugin: object, name: str) -> None:
        if self.failures:
            self.failures -= 1
            raise CommClosedError("the worker was killed")
        self.registered.append(name)


def test_a_worker_that_is_killed_while_it_gets_the_job_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE", 0.0)
    client = Registering(2)
    connection._register(client, object(), "plugin")
    assert client.registered == ["plugin"]
    with pytest.raises(ScannerError) as caught:
        connection._register(Registering(1000), object(), "plugin")
    assert caught.value.code == "cluster.not_started"
    with pytest.raises(LostError):
        connection._register(Registering(1, "closed"), object(), "plugin")


def test_dask_is_missed_only_when_it_is_needed(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    options = ScanOptions()
    run = make_run(UNIONS, encoder, options)
    catalogue = catalogs.create(tmp_path, run)
    with pytest.raises(ScannerError) as caught:
        scan_on_cluster([], UNIONS, encoder, catalogue, run, options, WorkerSource(workers=2))
    assert caught.value.code == "cluster.not_installed"
    assert "unions-scanner[cluster]" in caught.value.hint


class LocalCUDACluster:
    """What dask-cuda has of this name, as far as it is asked here: it keeps its options, and one GPU too many."""

    asked: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        CUDA_VISIBLE_DEVICES: Any = None,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        memory_limit: Any = "auto",
        local_directory: Any = None,
        **kwargs: Any,
    ) -> None:
        if n_workers == 3:
            raise ValueError("Can not scale beyond visible devices")
        given = {"CUDA_VISIBLE_DEVICES": CUDA_VISIBLE_DEVICES, "local_directory": local_directory}
        threads = {"n_workers": n_workers, "threads_per_worker": threads_per_worker, "memory_limit": memory_limit}
        type(self).asked = given | threads | kwargs

    def close(self, timeout: float) -> None:
        type(self).asked["closed"] = True


@pytest.fixture
def work(encoder: Encoder, tmp_path: Path) -> WorkerJob:
    options = ScanOptions(readers=4)
    return WorkerJob(UNIONS, options, make_run(UNIONS, encoder, options), str(encoder.path), tmp_path)


@pytest.fixture
def dask_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for dask-cuda, on a machine with two GPUs."""
    monkeypatch.setitem(sys.modules, "dask_cuda", SimpleNamespace(LocalCUDACluster=LocalCUDACluster))
    monkeypatch.setattr(session, "gpu_count", lambda: 2)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("cuda:\n", {}),
        (
            'cuda: {{CUDA_VISIBLE_DEVICES: "1,0", local-directory: /local, scheduler_port: 8786}}',
            {"CUDA_VISIBLE_DEVICES": "1,0", "local_directory": "/local", "scheduler_port": 8786},
        ),
    ],
)
@pytest.mark.usefixtures("dask_cuda")
def test_dask_cuda_is_asked_for_a_worker_a_gpu(
    work: WorkerJob, tmp_path: Path, text: str, given: dict[str, Any]
) -> None:
    with deploy.cluster(WorkerSource(workers=2, config=settings(tmp_path, text)), work):
        asked = dict(LocalCUDACluster.asked)
    assert given.items() <= asked.items()
    assert (asked["n_workers"], asked["threads_per_worker"], asked["memory_limit"]) == (2, 5, 0)
    assert LocalCUDACluster.asked["closed"]


@pytest.mark.parametrize(
    ("workers", "text", "said"),
    [
        (2, "cuda: {{cuda-visible: 1}}", "cuda.cuda-visible, which is not an option"),
        (
            2,
            "cuda: {{local_directroy: /local}}",
            "cuda.local_directroy, which is not an option; is it local_directory?",
        ),
        (2, "cuda: {{n_workers: 4}}", "cuda.n_workers, which is not an option"),
        (2, "cuda: 4", "has nothing under cuda"),
        (3, "cuda:\n", "is refused by dask-cuda: Can not scale beyond visible devices"),
        (2, "{{cuda: {{}}, jobqueue: {{slurm: {{cores: 1, memory: 1GB}}}}}}", "must have a section jobqueue"),
    ],
)
@pytest.mark.usefixtures("dask_cuda")
def test_a_file_that_asks_nonsense_of_dask_cuda_is_refused(
    work: WorkerJob, tmp_path: Path, workers: int, text: str, said: str
) -> None:
    with (
        pytest.raises(ScannerError) as caught,
        deploy.cluster(WorkerSource(workers=workers, config=settings(tmp_path, text)), work),
    ):
        pass
    assert caught.value.code == "cluster.bad_config"
    assert said in caught.value.message


@pytest.mark.usefixtures("dask_cuda")
def test_gpus_that_are_not_there(work: WorkerJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code() -> str:
        with (
            pytest.raises(ScannerError) as caught,
            deploy.cluster(WorkerSource(workers=1, config=settings(tmp_path, "cuda:\n")), work),
        ):
            pass
        return f"{caught.value.code}: {caught.value.hint}"

    monkeypatch.setattr(session, "gpu_count", lambda: 0)
    assert code().startswith("device.unavailable")
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    assert code() == "cluster.not_installed: pip install dask-cuda"


def test_who_wants_to_be_alone_is_alone() -> None:
    import threading

    gate, inside, seen = Gate(), [], []

    def visit(alone: bool) -> None:
        with gate.enter(alone):
            inside.append(alone)
            threading.Event().wait(0.005)
            seen.append((alone, len(inside)))
            inside.remove(alone)

    threads = [threading.Thread(target=visit, args=(number % 4 == 0,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 40
    assert {count for alone, count in seen if alone} == {1}


@pytest.mark.parametrize("address", ["nowhere", "nosuch://127.0.0.1:1", "tls://127.0.0.1:1"])
def test_an_address_that_dask_refuses_makes_no_client(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """A ``Client`` that fails in its constructor waits 20 s when it is collected, and prints a traceback."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "Client", lambda *_, **__: pytest.fail("a client was made"))
    with pytest.raises(ScannerError) as refused:
        deploy._Address(address)()
    assert refused.value.code == "cluster.no_scheduler"
