"""``scanner scan-tiles --workers``: the exit codes of a scan on one machine, and Ctrl-C as a terminal sends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from tests.end_to_end.conftest import Scanner
from tests.support import small_tiles

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the processes"),
]


def group(leader: int) -> set[int]:
    """Processes of a process group that are alive."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(") ")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(pgrp) == leader and state != "Z":
            found.add(int(stat.parent.name))
    return found


def test_ctrl_c_and_then_the_same_command_again(
    scanner: Scanner, no_torch: dict[str, str], model: Path, tmp_path: Path
) -> None:
    names = small_tiles.names(40)
    for name in names[:20]:
        small_tiles.write(tmp_path / "unions", name, size=200, objects=10, bands="r")
    for name in names[20:]:  # the same pixels again: what matters is that there is work
        target = small_tiles.band_file(tmp_path / "unions", name, "r")
        target.symlink_to(small_tiles.band_file(tmp_path / "unions", names[0], "r"))
    spoilt = small_tiles.band_file(tmp_path / "unions", names[5], "r")
    spoilt.write_bytes(spoilt.read_bytes()[:9000])
    (tmp_path / "list.txt").write_text("\n".join(names))
    out = tmp_path / "out"
    command = ["scan-tiles", "--tiles", tmp_path / "list.txt", "--root", tmp_path / "unions", "--model", model]
    command += ["--out", out, "--workers", 2, "--readers", 0, "--device", "cpu", "--format", "json"]

    process = subprocess.Popen(
        [sys.executable, "-c", "from scanner.cli import main; main()", *map(str, command)],
        env=no_torch,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 200
    while not list((out / "tiles").glob("[!.]*.parquet")) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # to the workers too, as Ctrl-C at a terminal
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    while group(process.pid):
        assert time.monotonic() < end, "processes were left behind"
        time.sleep(0.05)
    kept = {path.name: path.read_bytes() for path in (out / "tiles").glob("*.parquet")}
    assert kept
    assert not list(out.rglob("*.tmp"))

    done = scanner(*command)
    assert done.code == 3, done.err
    report = json.loads(done.out)
    assert (report["done"], report["failed"], report["skipped"]) == (len(names) - 1 - len(kept), 1, len(kept))
    assert kept.items() <= {path.name: path.read_bytes() for path in (out / "tiles").glob("*.parquet")}.items()
