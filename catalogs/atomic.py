"""Files that appear whole or not at all: write beside the target, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catalogs.errors import ErrorCode, ScannerError

if sys.platform != "win32":
    import fcntl

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_HERE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR}
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_SUFFIX = ".tmp"


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn a full or forbidden output into ``ScannerError`` ``output.full``, ``output.read_only``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ScannerError(
                ErrorCode.OUTPUT_FULL,
                f"There is no room left to write {path}.",
                "Free some space and run the same command again: what was finished is kept.",
            ) from error
        if error.errno in _NOT_HERE:
            raise ScannerError(
                ErrorCode.OUTPUT_READ_ONLY,
                f"{path} cannot be written here ({os.strerror(error.errno)}).",
                "Give a folder you may write to.",
            ) from error
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on a clean exit it becomes ``path``, durably and in one step.

    Any exception removes the temporary and leaves ``path`` as it was. A process that is killed leaves its temporary
    behind, unlocked, for ``remove_stale``. Two writers of one path do not meet: the last to finish wins.
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _locked_temporary(path)
        try:
            yield temporary
            _sync(temporary)
            if sys.platform == "win32":
                os.close(descriptor)
                descriptor = -1
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as readable JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def remove_stale(folder: Path) -> int:
    """Remove the temporaries that killed processes left in ``folder``; returns how many.

    A live writer holds a lock on its temporary, so its file stays, whichever machine of a shared disk it runs on.
    """
    removed = 0
    for temporary in folder.glob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            removed += _remove_unlocked(temporary)
    return removed


@contextlib.contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[None]:
    """Hold the lock file ``path``, waiting for whoever has it. The kernel frees it when its owner dies.

    Any number may have it ``shared`` at once, and then nobody alone. Raises ``ScannerError`` ``output.no_locks`` on a
    disk that has none.
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, path, shared)
            yield
        finally:
            os.close(descriptor)


def _locked_temporary(path: Path) -> tuple[Path, int]:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_SUFFIX}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _lock(descriptor, path)
        except BaseException:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        if temporary.exists():  # a cleaner may have taken it between its creation and its lock
            return temporary, descriptor
        os.close(descriptor)


def _lock(descriptor: int, path: Path, shared: bool = False) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise ScannerError(
            ErrorCode.OUTPUT_NO_LOCKS,
            f"The disk of {path} does not lock files ({os.strerror(error.errno)}).",
            "Have it mounted with flock (Lustre: -o flock), or give a folder on a local disk.",
        ) from error


def _remove_unlocked(temporary: Path) -> bool:
    if sys.platform == "win32":  # an open file cannot be removed there: that is the lock
        temporary.unlink()
        return True
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network disks cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
