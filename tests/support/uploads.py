"""Readers of uploaded files that do what a hostile file may make a reader do; they run in processes of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np


def wait_for_ever(path: Path) -> str:
    """Never come back."""
    signal.pause()
    return ""


def crash(path: Path) -> str:
    """End as a decoder does that writes where it must not."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return ""


def take_memory(path: Path) -> int:
    """Take more memory than a reader may have."""
    return len(np.ones(2**34, np.uint8))


def write_file(path: Path) -> int:
    """Write beside the uploaded file."""
    return Path(path).with_name("beside").write_bytes(bytes(100))
