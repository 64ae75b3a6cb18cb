"""Files that appear whole or not at all: write beside the target, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import re
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
_NOT_HERE |= {errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG}
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_SUFFIX = ".tmp"
_SCHEME = re.compile("(https?|ftp|s3a?|gs|gcs|abfss?|az|adl|hdfs|vos|file|memory):", re.IGNORECASE)


@contextlib.contextmanager
def output_errors(path: Path, creating: bool = False) -> Iterator[None]:
    """Turn the error of a full disk or a forbidden path into ``output.full`` or ``output.read_only``.

    While ``creating``, nothing else is read, so a path that does not exist is one that cannot be made, as in /proc.
    An address is refused with ``output.bad_name``.
    """
    refuse_address(path)
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ScannerError(
                ErrorCode.OUTPUT_FULL,
                f"There is no space left to write {path}.",
                "Free some space and run the same command again: finished work is kept.",
            ) from error
        if error.errno in _NOT_HERE or (creating and error.errno == errno.ENOENT):
            raise ScannerError(
                ErrorCode.OUTPUT_READ_ONLY,
                f"{path} cannot be written here ({os.strerror(error.errno)}).",
                "Give a folder that you may write to.",
            ) from error
        raise


@contextlib.contextmanager
def replacing(path: Path, clear: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on a clean exit it is synced and renamed to ``path``.

    Any exception removes the temporary and leaves ``path`` as it was. Of two writers of one path the last to finish
    wins. A process that is killed leaves its temporary unlocked: the next writer of ``path`` removes it. A pipe or a
    device at ``path`` is refused. ``clear=False`` is for the files of a folder that belongs to its command: all its
    temporaries are removed together (``remove_stale``, ``without_stale``), and anything at ``path`` is replaced.

    Raises:
        ScannerError: ``output.full``, ``output.read_only``, ``output.no_locks``, ``output.bad_name``.
    """
    with output_errors(path, creating=True):
        _refuse_folder(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # This lists the folder, which is slow where there are thousands of files.
        if clear:
            _refuse_stream(path)
            remove_stale(path.parent, path.name)
        temporary, descriptor = _locked_temporary(path)
    with output_errors(path):
        try:
            yield temporary
            # Without the sync, the name could lead to an empty file after a crash.
            _sync(temporary)
            # Windows does not rename a file that is open.
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
        # The rename itself survives a crash only when the folder is on the disk.
        _sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder for results, unless it is there.

    Raises:
        ScannerError: ``output.full``, ``output.read_only``, ``output.bad_name``.
    """
    with output_errors(folder, creating=True):
        folder.mkdir(parents=True, exist_ok=True)


def check_name(folder: Path) -> None:
    """Refuse a folder whose name is not UTF-8: Arrow and Annoy take no other.

    Raises:
        ScannerError: ``output.bad_name``.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        message = f"The name of {str(folder)!r} is not UTF-8."
        raise ScannerError(ErrorCode.OUTPUT_BAD_NAME, message, "Give another folder, or rename it.") from error


def write_text(path: Path, text: str, clear: bool = True) -> None:
    """Write ``text`` to ``path`` as UTF-8, atomically; bytes of file names that are no UTF-8 become escapes.

    ``clear`` is that of ``replacing``.
    """
    with replacing(path, clear) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any, clear: bool = True) -> None:
    """Write ``value`` to ``path`` as readable JSON with sorted keys, atomically; ``clear`` is that of ``replacing``."""
    # Other readers of JSON refuse NaN.
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", clear)


def remove_stale(folder: Path, name: str | None = None) -> int:
    """Remove the temporaries that killed processes left in ``folder``, and return how many there were.

    With a ``name`` only those of the file of this name are removed.

    A running writer holds a lock on its temporary, so that is kept, whichever machine of a shared disk it runs on.
    """
    removed = 0
    pattern = "*" if name is None else f"{glob.escape(name)}.*"
    for temporary in folder.glob(f".{pattern}{_SUFFIX}"):
        with contextlib.suppress(OSError):
            removed += _remove_unlocked(temporary)
    return removed


@contextlib.contextmanager
def without_stale(folder: Path) -> Iterator[None]:
    """Remove the temporaries of earlier runs from ``folder``, and at the end those of workers that were killed."""
    remove_stale(folder)
    try:
        yield
    finally:
        remove_stale(folder)


@contextlib.contextmanager
def locked(path: Path, temporary: bool = False) -> Iterator[None]:
    """Hold the lock file ``path``, after waiting for its owner. The kernel frees the lock when a process ends.

    A ``temporary`` lock file is removed at the end; every other one stays.

    Raises:
        ScannerError: ``output.no_locks`` on a disk without locks, ``output.full``, ``output.read_only``.
    """
    with output_errors(path, creating=True):
        _refuse_folder(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock_path(path)
    with output_errors(path):
        try:
            yield
        finally:
            # Only the owner removes it, so those who wait for this file find that it is gone, and take the next.
            if temporary:
                path.unlink(missing_ok=True)
            # Closing the descriptor frees the lock.
            os.close(descriptor)


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        message = f"{path} is a folder: no file can be written in its place."
        raise ScannerError(ErrorCode.OUTPUT_READ_ONLY, message, "Remove it, or give another name.")


def refuse_address(path: Path) -> None:
    """Refuse ``s3://bucket/folder``, which as a path would be a folder ``s3:`` of this machine.

    Raises:
        ScannerError: ``output.bad_name``.
    """
    if len(path.parts) > 1 and _SCHEME.fullmatch(path.parts[0]):
        address = path.as_posix().replace(":/", "://", 1)
        message = f"{address} is an address, and files are written to folders of this machine."
        raise ScannerError(ErrorCode.OUTPUT_BAD_NAME, message, "Give a folder, and copy it to the address.")


def refuse_unwritable(path: Path, replaced: bool = False) -> None:
    """Refuse a file or folder that could not be written, before there is anything to write. Nothing is made.

    ``replaced``: a folder takes the place of ``path``, as a file does; else files are written into one that is there.
    A disk that is full, or becomes so, is seen only when the file is written.

    Raises:
        ScannerError: ``output.read_only``, ``output.bad_name``.
    """
    with output_errors(path, creating=True):
        if not path.is_dir():
            _refuse_stream(path)
        into = path.is_dir() and not replaced
        # Folders that are missing are made later, in the first that is there. A link that leads nowhere is there.
        places = (one for one in path.absolute().parents if one.exists() or one.is_symlink())
        place = path if into else next(places, None)
        if place is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _refuse_stream(path: Path) -> None:
    """Refuse a pipe or a device: a file would take its place, and its reader would wait forever."""
    # A link into /proc, such as /dev/stdout, is a stream whatever it leads to.
    is_standard = path.is_symlink() and path.readlink().is_relative_to("/proc")
    if is_standard or (path.exists() and not path.is_file()):
        message = f"{path} is a pipe or a device: no file can be written in its place."
        raise ScannerError(ErrorCode.OUTPUT_READ_ONLY, message, "Give another name; standard output needs none.")


def _lock_path(path: Path) -> int:
    """Open and lock the file at ``path``; another one may take its place while this process waits."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, path)
            if sys.platform == "win32" or _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _locked_temporary(path: Path) -> tuple[Path, int]:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_SUFFIX}")
        # The umask decides about the mode. A file of ``tempfile`` is readable by its owner alone.
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _lock(descriptor, path)
        except BaseException:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        # Another process may have removed it as stale between its creation and its lock.
        if temporary.exists():
            return temporary, descriptor
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise ScannerError(
            ErrorCode.OUTPUT_NO_LOCKS,
            f"The disk of {path} does not support locks ({os.strerror(error.errno)}).",
            "Mount it with flock (Lustre: -o flock), or give a folder on a local disk.",
        ) from error


def _remove_unlocked(temporary: Path) -> bool:
    # Windows has no flock, but an open file cannot be removed there, which serves as the lock.
    if sys.platform == "win32":
        temporary.unlink()
        return True
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        # A lock that cannot be had means that the writer still runs.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def sync_all(folder: Path) -> None:
    """Bring all files below ``folder`` to the disk, so that it can be renamed as a whole."""
    for path in folder.rglob("*"):
        if path.is_dir():
            _sync_folder(path)
        else:
            _sync(path)


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
        # Some network disks cannot sync a folder.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
