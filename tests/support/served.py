"""A page that ``scanner serve`` serves, as a person starts it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

PROGRAM = [sys.executable, "-c", "from scanner.cli import main; main()"]
SERVER = "http://localhost:8431"
"""The address that the guides name."""


@contextlib.contextmanager
def serve(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Serve as the words after ``scanner`` say, at a port that is free; gives the address. Ctrl-C ends it well."""
    command = [*PROGRAM, *words, "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            printed = next(line for line in process.stdout if line.startswith("Open http"))
            yield "http://" + urlsplit(printed.split()[1]).netloc
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0
