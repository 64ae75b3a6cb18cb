"""Where workers come from: processes of this machine or of each of its GPUs, a Dask scheduler, or a batch system."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.resources
import inspect
import logging
import signal
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from catalogs.errors import ErrorCode, ScannerError
from scanner.cluster.job import INSTALL, Where, Work, not_installed
from scanner.encoder import session as runtime

log = logging.getLogger(__name__)

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # who is to blame for a dead worker is found out by dispatch
    "distributed.scheduler.work-stealing": False,  # a worker has no queue to steal from
    "distributed.worker.memory.target": False,  # tiles lie outside what Dask could spill
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
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

Connect = Callable[[], Any]


@contextlib.contextmanager
def cluster(where: Where, work: Work) -> Iterator[Connect]:
    """Yields what makes a Dask client of the workers; those that were started here end with the block."""
    try:
        from distributed import Client
    except ImportError as error:
        raise not_installed(error) from error
    with _hushed(), contextlib.ExitStack() as stack:
        if where.address is not None:
            yield _Address(where.address)
            return
        config = stack.enter_context(_settings(where.config))
        started = _configured(config, where, work) if where.config else _local(where.workers or 1, work)
        stack.callback(started.close, timeout=CONNECT)
        yield lambda: Client(started, set_as_default=False)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Dask is silent meanwhile: what matters of its many words is said by ``dispatch``, in ours."""
    dask = logging.getLogger("distributed")
    before = dask.propagate, dask.handlers
    dask.propagate, dask.handlers = False, [logging.NullHandler()]
    try:
        yield
    finally:
        dask.propagate, dask.handlers = before


class _Address:
    """Connects to a scheduler, and for some minutes again if it was lost."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._patience = 0.0

    def __call__(self) -> Any:
        from distributed import Client

        end = time.monotonic() + self._patience
        while True:
            try:
                client = Client(self._address, timeout=CONNECT, set_as_default=False)
            except (OSError, ValueError) as error:
                if isinstance(error, ValueError) or time.monotonic() > end:
                    raise ScannerError(
                        ErrorCode.CLUSTER_NO_SCHEDULER,
                        f"There is no Dask scheduler at {self._address}: {error}.",
                        "Start one with: dask scheduler; its first lines say the address, such as tcp://10.0.0.1:8786.",
                    ) from error
            else:
                self._patience = RECONNECT
                return client


def _local(workers: int, work: Work) -> Any:
    from distributed import LocalCluster

    with _deaf():
        return LocalCluster(**_here(workers, work))


def _here(workers: int, work: Work) -> dict[str, Any]:
    """Options of a cluster of this machine."""
    return {
        "n_workers": workers,
        "threads_per_worker": work.at_once,
        "memory_limit": 0,  # most of a worker's memory is shared with its readers, which Dask would count as its own
        "host": "127.0.0.1",
        "silence_logs": logging.CRITICAL,
        "dashboard_address": None,
    }


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Threads that start meanwhile, and the processes that they start at any time, do not hear SIGINT and SIGTERM.

    Ctrl-C at a terminal reaches every process there, SLURM's SIGTERM every process of a job; what it means is for the
    one that was asked to scan. A worker that died of it would look like one that its tile killed.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # as it starts, it would open our ears again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _settings(path: Path | None) -> Iterator[Mapping[str, Any]]:
    """Dask's settings for a scan, with those of a file, which win; yields the file's content."""
    import dask

    content = _read(path) if path else {}
    if "jobqueue" in content:
        _installed("dask_jobqueue")  # brings its defaults with it
    with dask.config.set(SETTINGS), dask.config.set(dict(_dotted(content))):
        yield content


def _dotted(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"a": {"b": 1}}`` as ``("a.b", 1)``: so settings join those that are there instead of replacing them all."""
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise _bad(path, f"cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise _bad(path, "holds no settings")
    return content


def _configured(config: Mapping[str, Any], where: Where, work: Work) -> Any:
    """The cluster that a file of settings asks for; every option is one that it knows."""
    assert where.config is not None
    workers = where.workers or 1
    if "cuda" in config and "jobqueue" not in config:
        return _gpus(config["cuda"] or {}, where.config, workers, work)
    section = config.get("jobqueue")
    if "cuda" in config or not isinstance(section, dict) or len(section) != 1 or next(iter(section)) not in KINDS:
        raise _bad(where.config, f"must have a section jobqueue with one of {', '.join(KINDS)}, or a section cuda")
    kind, given = next(iter(section.items()))
    return _batch_system(kind, given, where.config, workers, work)


def _gpus(given: Any, path: Path, workers: int, work: Work) -> Any:
    """Workers of this machine, started by dask-cuda: each has a GPU."""
    from distributed import LocalCluster

    make = _installed("dask_cuda").LocalCUDACluster
    if not runtime.gpu_count():
        hint = "Leave --dask-config away: --workers alone are processes of this machine."
        raise ScannerError(ErrorCode.DEVICE_UNAVAILABLE, f"{path} asks for GPUs, and this machine has none.", hint)
    known = {name for kind in (make, LocalCluster) for name in inspect.signature(kind).parameters}
    _check_known(path, "cuda", given, known - {"n_workers", "threads_per_worker", "kwargs", "worker_kwargs"})
    options = {str(name).replace("-", "_"): value for name, value in given.items()}
    try:
        with _deaf():
            return make(**_here(workers, work) | options)
    except (ValueError, TypeError) as error:
        raise _bad(path, f"is refused by dask-cuda: {error}") from error


def _batch_system(kind: str, given: Any, path: Path, workers: int, work: Work) -> Any:
    module = _installed("dask_jobqueue")
    _check_options(path, kind, given)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            started = getattr(module, KINDS[kind])(worker_extra_args=_worker_arguments(kind, work))
    except (ValueError, TypeError) as error:
        raise _bad(path, f"is refused by dask-jobqueue: {error}") from error
    log.info("Each job is:\n%s\nDask's page of this scan: %s", started.job_script(), started.dashboard_link)
    started.scale(n=workers)
    return started


def _installed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.replace("_", "-")
        message = f"{package} cannot be imported: {error}."
        raise ScannerError(ErrorCode.CLUSTER_NOT_INSTALLED, message, f"pip install {package}") from error


def _check_options(path: Path, kind: str, given: Any) -> None:
    """Refuse options that dask-jobqueue would pass over in silence."""
    import dask

    _check_known(path, f"jobqueue.{kind}", given, _options(kind))
    for name in ("cores", "memory"):
        if dask.config.get(f"jobqueue.{kind}.{name}") is None:
            raise _bad(path, f"must say jobqueue.{kind}.{name}, what a job gets of it")


def _check_known(path: Path, section: str, given: Any, known: Collection[str]) -> None:
    if not isinstance(given, dict):
        raise _bad(path, f"has nothing under {section}")
    plain = {name.replace("-", "_"): name for name in known}
    for name in given:
        if str(name).replace("-", "_") not in plain:
            like = difflib.get_close_matches(str(name).replace("-", "_"), plain, 1)
            raise _bad(path, f"has {section}.{name}, which is no option" + (f"; {plain[like[0]]}?" if like else ""))


def _options(kind: str) -> set[str]:
    """Names of the options that dask-jobqueue has for a batch system: those in the defaults that it ships."""
    import yaml

    shipped = importlib.resources.files("dask_jobqueue").joinpath("jobqueue.yaml").read_text(encoding="utf-8")
    return {str(name) for name in yaml.safe_load(shipped)["jobqueue"][kind]}


def _worker_arguments(kind: str, work: Work) -> list[str]:
    """A thread for each tile in hand: threads of a worker only wait, the cores are for the encoder and the readers."""
    import dask

    given = dask.config.get(f"jobqueue.{kind}.worker-extra-args") or []
    return [*map(str, given), "--nthreads", str(work.at_once)]


def _bad(path: Path, why: str) -> ScannerError:
    return ScannerError(
        ErrorCode.CLUSTER_BAD_CONFIG,
        f"{path} {why}.",
        f"docs/guide/many-machines.md has an example. Needed: {INSTALL}, and dask-jobqueue or dask-cuda.",
    )
