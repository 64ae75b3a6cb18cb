"""What travels to a cluster: where the workers of a scan come from, and what each of them must know to scan tiles."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.provenance import Run, software
from scanner.encoder.options import ONNXRUNTIME
from scanner.scan.options import SOURCES, ScanOptions
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile

INSTALL = "pip install 'unions-scanner[cluster]'"


@dataclass(frozen=True)
class WorkerSource:
    """Where workers come from: ``workers`` processes of this machine, or the Dask scheduler at ``address``.

    With ``config``, a file of Dask settings, the section ``jobqueue`` names the batch system that starts the
    ``workers``; with the section ``cuda`` each of them has a GPU of this machine.
    """

    workers: int | None = None
    address: str | None = None
    config: Path | None = None

    @classmethod
    def of_options(cls, workers: int | None, dask: str | None, dask_config: str | Path | None) -> WorkerSource | None:
        """Make the source of the options of these names; None where they name none.

        Raises:
            ValueError: They contradict each other.
        """
        if dask == "":
            raise ValueError("dask must be the address of a scheduler, such as tcp://10.0.0.1:8786.")
        if dask and (workers or dask_config):
            raise ValueError(
                "dask is a scheduler with workers of its own: give neither workers nor dask-config with it."
            )
        if dask_config and not workers:
            raise ValueError("dask-config needs workers, the number of workers to start.")
        return cls(workers, dask, Path(dask_config) if dask_config else None) if workers or dask else None

    @property
    def patience(self) -> float:
        """Seconds without any worker after which a scan ends: a batch system may let jobs wait for a day."""
        return 86_400.0 if self.config is not None else 600.0


class Threaded(Protocol):
    """What workers are started for. ``at_once``: tasks of a worker at once, None for what Dask is set up for."""

    @property
    def at_once(self) -> int | None: ...


@dataclass(frozen=True)
class WorkerJob:
    """What a worker must know; the same for every tile. Paths are absolute and lead to the same files everywhere.

    ``precision``: what ``runtime`` computes in (None: the number format of the file). ``cores``: those that a worker
    may take where the encoder runs on the CPU, None for all it has.
    """

    survey: Survey
    options: ScanOptions
    run: Run
    model: str
    catalogue: Path
    device: str = "auto"
    batch: int | None = None
    cores: int | None = None
    precision: str | None = None
    runtime: str = ONNXRUNTIME
    software: str = field(default_factory=software)

    @property
    def at_once(self) -> int:
        """Tiles in a worker at once: one is embedded, each reading process has one, and one is fetched."""
        return self.options.processes + 1 + (self.options.scratch is not None)


def absolute_options(options: ScanOptions) -> ScanOptions:
    """The same options for a process with another working folder."""
    scratch = options.scratch.absolute() if options.scratch else None
    # A word names a method; all else is the path of a catalogue.
    if options.sources in SOURCES:
        return replace(options, scratch=scratch)
    return replace(options, sources=str(Path(options.sources).absolute()), scratch=scratch)


def absolute_tile(tile: Tile) -> Tile:
    """The same tile for a process with another working folder."""
    return replace(tile, files={band: path.absolute() for band, path in tile.files.items()})


def not_installed(error: ImportError) -> ScannerError:
    """The error for an environment without Dask."""
    return ScannerError(ErrorCode.CLUSTER_NOT_INSTALLED, f"Dask cannot be imported: {error}.", INSTALL)


def unlike_software(address: str, started_with: str) -> ScannerError:
    """The error of a worker with another version of this package."""
    return ScannerError(
        ErrorCode.CLUSTER_OTHER_SOFTWARE,
        f"Worker {address} has {software()}, the command was started with {started_with}: rows could differ.",
        f"Install the same version everywhere: {INSTALL}",
    )


def stopped() -> ScannerError:
    """The error of a task whose command has ended."""
    return ScannerError(ErrorCode.CLUSTER_STOPPED, "The command was stopped.", "Run the same command to resume.")
