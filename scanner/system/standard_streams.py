"""Standard streams of a program: one carries data, the other messages, and neither fails in a way of its own."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from catalogs.atomic import output_errors
from catalogs.errors import ErrorCode, ScannerError
from catalogs.render import readable


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """While the block runs, guard ``sys.stdout`` and ``sys.stderr``, if they are those of the process.

    Both are UTF-8 in every locale, and so are the names of files: where Python took another encoding from the locale,
    the program is started again. A reader that has gone (``| head``) is no error. Data that cannot be written raise a
    ``ScannerError``: ``output.full``, ``output.closed``. Messages that cannot be written are lost. What libraries in C
    and child processes write to standard output goes to standard error.
    """
    # Streams that a test or an application has put in place are its own. On Windows a console takes no bytes.
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__ or sys.platform == "win32":
        yield
        return
    _insist_on_utf8()
    _open_closed()
    before = sys.stdout, sys.stderr
    data = os.dup(1)
    os.dup2(2, 1)
    sys.stdout, sys.stderr = _text(_Data(data, "w")), _text(_Messages(2, "w", closefd=False))
    try:
        yield
    finally:
        os.dup2(data, 1)
        sys.stdout, sys.stderr = before


def run_program(command: Callable[..., object], name: str) -> None:
    """Run a command of click with guarded streams; a ``ScannerError`` becomes its report on stderr and exit code 1."""
    with guarded_streams():
        try:
            command(prog_name=name)
        except ScannerError as error:
            sys.stderr.write(f"{error.report()}\n")
            sys.exit(1)


class _Data(io.FileIO):
    """Standard output. Its first error is raised; everything after it is dropped, as the process ends anyway."""

    _failed = False

    def write(self, data: Any, /) -> int:
        if not self._failed:
            self._failed = True
            try:
                with output_errors(Path("standard output")):
                    written = super().write(data)
            except BrokenPipeError:
                return len(data)
            except OSError as error:
                raise ScannerError(
                    ErrorCode.OUTPUT_CLOSED,
                    f"Standard output cannot be written: {os.strerror(error.errno or 0)}.",
                    "Redirect it to a file or to another command.",
                ) from error
            self._failed = False
            return written
        return len(data)


class _Messages(io.FileIO):
    """Standard error. What it cannot write is lost: a message must not end the work that it is about."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _text(raw: io.FileIO) -> io.TextIOWrapper:
    codecs.register_error("readable", _readable)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "readable", line_buffering=True)


def _readable(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    return readable(error.object[error.start : error.end]).encode(), error.end


def _insist_on_utf8() -> None:
    """Start the program again in Python's UTF-8 mode, unless it is in it, or the locale is UTF-8.

    Arrow and ONNX Runtime take the names of files as UTF-8, whatever the locale says.
    """
    if sys.executable and not sys.flags.utf8_mode and codecs.lookup(sys.getfilesystemencoding()).name != "utf-8":
        # The reading processes and the workers have the environment.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _open_closed() -> None:
    """Open the standard streams that the process was started without: else its next file would be one of them."""
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given. A stream of the wrong direction fails when it is used, as it should.
            os.open(os.devnull, mode)
