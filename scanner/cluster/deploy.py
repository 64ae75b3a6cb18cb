"""Starts the workers of a scan, or finds them: processes of this machine, one for each of its GPUs, a batch system's,
or those of a Dask scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from catalogs.errors import ErrorCode, ScannerError
from scanner.cluster.job import Threaded, WorkerSource, not_installed
from scanner.cluster.settings import (
    bad_settings,
    batch_system_options,
    check_current_names,
    check_known,
    dotted,
    read_settings,
)
from scanner.encoder import session
from scanner.system.semaphores import mark_semaphores

log = logging.getLogger(__name__)

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # dispatch finds out which tile kills workers
    "distributed.scheduler.work-stealing": False,  # a worker has no queue to steal from
    "distributed.worker.memory.target": False,  # Dask could not spill the pixels of tiles
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
LOCAL_SETTINGS: dict[str, Any] = {
    # Pages and requests by HTTP, which have no secret, as anybody on the machine could use them.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
KINDS = {
    "htcondor": "HTCondorCluster",
    "lsf": "LSFCluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "slurm": "SLURMCluster",
}
CONNECT = 10.0
RECONNECT = 300.0
"""Seconds to wait for a scheduler: the first time, and after it was lost."""
START = 300.0
"""Seconds that workers of this machine may take to start."""

Connect = Callable[[], Any]


@contextlib.contextmanager
def cluster(source: WorkerSource, job: Threaded) -> Iterator[Connect]:
    """Yield a function that makes a Dask client of the workers; those that were started here end with the block.

    Raises:
        ScannerError: ``cluster.not_installed``, ``cluster.bad_config``, ``cluster.not_started``,
            ``device.unavailable``.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise not_installed(error) from error
    mark_semaphores()  # Dask's queues to its workers have some
    with _dask_silenced(), contextlib.ExitStack() as stack:
        if source.address is not None:
            yield _Address(source.address)
            return
        config = stack.enter_context(_dask_settings(source.config))
        if source.config:
            started = _start_configured(config, source.config, source.workers or 1, job)
        else:
            from distributed import LocalCluster

            started = _start_locally(LocalCluster, _local_options(source.workers or 1, job))
        stack.callback(_close, started)
        yield lambda: Client(started, set_as_default=False)


def _start_locally(make: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Start processes of this machine.

    Raises:
        ScannerError: ``cluster.not_started``.
    """
    import dask

    try:
        with _signals_blocked(), dask.config.set(LOCAL_SETTINGS):
            return make(**options)
    # A process was killed while it started, or took too long, which Dask's own clean-up does not expect. Or the disk is
    # full or read-only.
    except (OSError, RuntimeError, AssertionError) as error:
        raise not_started(error) from error


_MEMORY = "If one was killed, memory is usually short: lower --workers or --readers. Then run the same command again."


def not_started(error: Exception, hint: str = _MEMORY) -> ScannerError:
    """Make the error of workers that do not start."""
    why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return ScannerError(
        ErrorCode.CLUSTER_NOT_STARTED,
        f"The workers did not start: {why}.",
        hint,
    )


def _close(started: Any) -> None:
    """End the workers; what goes wrong with it must not hide the outcome of the scan."""
    try:
        started.close(timeout=CONNECT)
    # Dask asserts that every job was submitted.
    except (OSError, RuntimeError, AssertionError) as error:
        log.warning("The workers may not have ended: %s", error)


@contextlib.contextmanager
def _dask_silenced() -> Iterator[None]:
    """Dask's logs are silent meanwhile: ``dispatch`` logs what matters to users."""
    before = []
    # Tornado and asyncio log errors of Dask's background tasks, with tracebacks.
    for log_of in map(logging.getLogger, ("distributed", "tornado.application", "asyncio")):
        before.append((log_of, log_of.propagate, log_of.handlers))
        log_of.propagate, log_of.handlers = False, [logging.NullHandler()]
    try:
        yield
    finally:
        for log_of, propagate, handlers in before:
            log_of.propagate, log_of.handlers = propagate, handlers


async def _reach(address: str) -> None:
    """Connect once: a ``Client`` of an address that it refuses hangs when it is collected."""
    from distributed.comm import connect
    from distributed.security import Security

    comm = await connect(address, timeout=CONNECT, **Security().get_connection_args("client"))
    await comm.close()


class _Address:
    """Connects to a scheduler; tries again for some minutes if it was lost."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._patience = 0.0

    def __call__(self) -> Any:
        from distributed import Client

        end = time.monotonic() + self._patience
        while True:
            try:
                asyncio.run(_reach(self._address))
                client = Client(self._address, timeout=CONNECT, set_as_default=False)
            except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
                if not isinstance(error, OSError) or time.monotonic() > end:
                    raise ScannerError(
                        ErrorCode.CLUSTER_NO_SCHEDULER,
                        f"There is no Dask scheduler at {self._address}: {error}.",
                        "Start one with: dask scheduler; its first lines show an address like tcp://10.0.0.1:8786.",
                    ) from error
            else:
                self._patience = RECONNECT
                return client


def _local_options(workers: int, job: Threaded) -> dict[str, Any]:
    """Options of a cluster of this machine."""
    return {
        "n_workers": workers,
        # Those of a scan only wait: the cores are for the encoder and the readers.
        "threads_per_worker": job.at_once or 1,
        "memory_limit": 0,  # most of a worker's memory is shared with its readers, which Dask would count as its own
        "host": "127.0.0.1",
        "security": True,  # keys made for this run: any user of the machine can reach the ports
        "death_timeout": START,
        "silence_logs": logging.CRITICAL,
        "dashboard_address": None,
    }


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block SIGINT and SIGTERM in threads that start meanwhile, and in the processes that these start at any time.

    Ctrl-C at a terminal reaches every process there, SLURM's SIGTERM every process of a job. Only the process that was
    asked to scan acts on them: a worker that exited at a signal would look like one that its tile killed.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Start it now: when it starts later, it resets our signal mask.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _dask_settings(path: Path | None) -> Iterator[Mapping[str, Any]]:
    """Set Dask up for a scan, and by a file, which takes precedence; yields the file's content."""
    import dask

    content = read_settings(path) if path else {}
    if "jobqueue" in content:
        _import("dask_jobqueue")  # sets its defaults
    with dask.config.set(SETTINGS), dask.config.set(dict(dotted(content))):
        yield content


def _start_configured(config: Mapping[str, Any], path: Path, workers: int, job: Threaded) -> Any:
    """The cluster that a file of settings asks for. Options of an unknown name are refused."""
    if "cuda" in config and "jobqueue" not in config:
        return _start_on_gpus(config["cuda"] or {}, path, workers, job)
    section = config.get("jobqueue")
    if "cuda" in config or not isinstance(section, dict) or len(section) != 1 or next(iter(section)) not in KINDS:
        raise bad_settings(path, f"must have a section jobqueue with one of {', '.join(KINDS)}, or a section cuda")
    kind, given = next(iter(section.items()))
    return _start_on_batch_system(kind, given, path, workers, job)


def _start_on_gpus(given: Any, path: Path, workers: int, job: Threaded) -> Any:
    """Workers of this machine, started by dask-cuda: each has a GPU."""
    from distributed import LocalCluster

    make = _import("dask_cuda").LocalCUDACluster
    if not session.gpu_count():
        hint = "Remove --dask-config: --workers alone starts processes of this machine."
        raise ScannerError(ErrorCode.DEVICE_UNAVAILABLE, f"{path} asks for GPUs, and this machine has none.", hint)
    known = {name for kind in (make, LocalCluster) for name in inspect.signature(kind).parameters}
    check_known(path, "cuda", given, known - {"n_workers", "threads_per_worker", "kwargs", "worker_kwargs"})
    options = {str(name).replace("-", "_"): value for name, value in given.items()}
    try:
        return _start_locally(make, _local_options(workers, job) | options)
    except (ValueError, TypeError) as error:
        raise bad_settings(path, f"is refused by dask-cuda: {error}") from error


def _start_on_batch_system(kind: str, given: Any, path: Path, workers: int, job: Threaded) -> Any:
    """Jobs of a batch system, by dask-jobqueue, which takes its options from Dask's settings."""
    import dask

    module = _import("dask_jobqueue")
    check_known(path, f"jobqueue.{kind}", given, batch_system_options(kind))
    check_current_names(path, kind)
    for name in ("cores", "memory"):
        if dask.config.get(f"jobqueue.{kind}.{name}") is None:
            raise bad_settings(path, f"must say jobqueue.{kind}.{name}, what a job gets of it")
    arguments = [*map(str, dask.config.get(f"jobqueue.{kind}.worker-extra-args") or [])]
    if job.at_once is not None:
        # A thread for each tile at once, whatever the number of cores.
        arguments += ["--nthreads", str(job.at_once)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            started = getattr(module, KINDS[kind])(worker_extra_args=arguments)
    except (ValueError, TypeError) as error:
        raise bad_settings(path, f"is refused by dask-jobqueue: {error}") from error
    log.info("Script of each job:\n%s\nDask's page of this scan: %s", started.job_script(), started.dashboard_link)

    async def submit() -> None:
        started.scale(n=workers)
        # Dask submits the jobs in the background, and only what waits for that sees an error.
        await started._correct_state()

    try:
        started.sync(submit)
    # There is no such program as sbatch, or it refuses the job.
    except (OSError, RuntimeError) as error:
        _close(started)
        hint = "Run the command where jobs can be submitted, and correct what the batch system refuses."
        raise not_started(error, hint) from error
    return started


def _import(module: str) -> Any:
    """A module of Dask's family, or ``cluster.not_installed``."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.replace("_", "-")
        message = f"{package} cannot be imported: {error}."
        raise ScannerError(ErrorCode.CLUSTER_NOT_INSTALLED, message, f"pip install {package}") from error
