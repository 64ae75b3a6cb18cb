"""Files of Dask settings: read, and checked option by option, because Dask ignores what it does not know."""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import read_text
from scanner.cluster.job import INSTALL

RENAMED = {
    "env-extra": "job-script-prologue",
    "extra": "worker-extra-args",
    "header-skip": "job-directives-skip",
    "job-extra": "job-extra-directives",
    "project": "account",
}
"""Former names of options of dask-jobqueue, which it ignores where the new name is set too; to their new names."""


def read_settings(path: Path) -> Mapping[str, Any]:
    """The content of a YAML file. Raises ``ScannerError`` ``cluster.bad_config``."""
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise bad_settings(path, f"cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise bad_settings(path, "holds no settings")
    return content


def dotted(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Turn ``{"a": {"b": 1}}`` into ``("a.b", 1)``, the form that joins Dask's settings instead of replacing them."""
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def check_known(path: Path, section: str, given: Any, known: Collection[str]) -> None:
    """Refuse a section that is not a table, or that has an option of another name."""
    if not isinstance(given, dict):
        raise bad_settings(path, f"has nothing under {section}")
    # Dask takes dashes and underscores in names of options alike.
    plain = {name.replace("-", "_"): name for name in known}
    for name in given:
        if str(name).replace("-", "_") not in plain:
            like = difflib.get_close_matches(str(name).replace("-", "_"), plain, 1)
            meant = f"; is it {plain[like[0]]}?" if like else ""
            raise bad_settings(path, f"has {section}.{name}, which is not an option{meant}")


def check_current_names(path: Path, kind: str) -> None:
    """Refuse options of a batch system by their former names, in the file or in Dask's own settings."""
    import dask

    for former, current in RENAMED.items():
        if dask.config.get(f"jobqueue.{kind}.{former}", None) is not None:
            raise bad_settings(path, f"or Dask's settings have jobqueue.{kind}.{former}, which is now {current}")


def batch_system_options(kind: str) -> set[str]:
    """Names of the options that dask-jobqueue has for a batch system: those in the defaults that it ships."""
    import yaml

    shipped = importlib.resources.files("dask_jobqueue").joinpath("jobqueue.yaml").read_text(encoding="utf-8")
    return {str(name) for name in yaml.safe_load(shipped)["jobqueue"][kind]}


def bad_settings(path: Path, why: str) -> ScannerError:
    """The error of a file that cannot be used."""
    return ScannerError(
        ErrorCode.CLUSTER_BAD_CONFIG,
        f"{path} {why}.",
        f"docs/guide/many-machines.md has an example. Needed: {INSTALL}, and dask-jobqueue or dask-cuda.",
    )
