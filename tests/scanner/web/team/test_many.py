"""Two and six inspectors at once, on one server that is killed in the middle: every grade is there once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from catalogs.errors import ErrorCode
from scanner.inspection.plan import Plan
from scanner.inspection.progress import missing_grades, open_ledger, still_blind
from tests.support import team_project

NAMES = ("ann", "bob", "cid", "dan", "eve", "fay")
COMMAND = [sys.executable, "-c", "from scanner.cli import main; main()", "serve"]


class Server:
    """``scanner serve`` in a process of its own; ``up`` is set while it answers."""

    def __init__(self, project: Path) -> None:
        self._project, self.port, self.up = project, 0, threading.Event()
        self.start()

    def start(self) -> None:
        words = ["--project", self._project, "--port", self.port, "--catalog", self._project / "nothing"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, env=environment, encoding="utf-8"
        )
        assert self._process.stdout is not None
        # The socket listens before the address is printed.
        address = self._process.stdout.readline()
        self.port = int(address.split("localhost:" if "localhost" in address else "127.0.0.1:")[1].split("/")[0])
        self.up.set()

    def kill(self) -> None:
        self.up.clear()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def ask(server: Server, token: str, address: str, body: Any = None) -> Any:
    """Ask until there is an answer, as the page does: with the same batch, so that nothing counts twice."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    while True:
        server.up.wait()
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}{address}", data, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except OSError:
            continue


def grade_all(server: Server, name: str, token: str, half: threading.Barrier) -> None:
    listed = ask(server, token, f"/grade/{name}/one")["objects"]
    for place, one in enumerate(listed):
        if place == len(listed) // 2:
            half.wait()
        word = "ABCX"[int(one["key"], 16) % 4]
        body = {
            "batch": f"{one['key']}",
            "verdicts": [{"key": one["key"], "grade": word, "place": place, "seconds": 1}],
        }
        assert ask(server, token, f"/grade/{name}/verdicts", body)["saved"] == 1
        if place % 5 == 0:
            # A slip is taken back and graded again.
            ask(server, token, f"/grade/{name}/undo", {"batch": f"undo-{one['key']}"})
            ask(server, token, f"/grade/{name}/verdicts", {**body, "batch": f"again-{one['key']}"})


@pytest.mark.parametrize("count", [2, 6])
def test_inspectors_grade_at_once_while_the_server_is_killed(tmp_path: Path, count: int) -> None:
    project, tokens = team_project.project(tmp_path / "hunt", NAMES[:count], candidates=16, fakes=2)
    plan = Plan.of(project)
    server = Server(project.folder)
    half = threading.Barrier(count + 1)
    try:
        with ThreadPoolExecutor(count) as pool:
            work = [pool.submit(grade_all, server, name, tokens[name], half) for name in NAMES[:count]]
            # All are in the middle of their lists, and go on while the server dies.
            half.wait()
            server.kill()
            server.start()
            for one in work:
                one.result()
    finally:
        server.kill()
    assert missing_grades(project) == []
    assert still_blind(project) == {}
    ledger = open_ledger(project)
    for name in plan.inspectors:
        for index in range(len(plan)):
            said = ledger.said(name, index)
            assert said is not None
            assert said.blind.grade == "ABCX"[int(plan.key(name, index), 16) % 4]
    rows = [one for one, withdraws in project.verdicts.every() if withdraws is None]
    undone = [one for one, withdraws in project.verdicts.every() if withdraws is not None]
    assert len({one.uuid for one in rows}) == len(rows) == count * (18 + 4)
    assert len(undone) == count * 4


def serve(project: Path, *words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    given = [*COMMAND, "--project", str(project), "--port", "0", "--catalog", str(project / "nothing"), *words]
    done = subprocess.run(given, capture_output=True, encoding="utf-8", env={**os.environ, **(environment or {})})
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [("--inspector", "ann"), ("--inspector", "zed", "--token", "x")])
def test_a_laptop_needs_the_token_of_its_inspector(tmp_path: Path, words: Sequence[str]) -> None:
    project, _ = team_project.project(tmp_path / "hunt")
    code, told = serve(project.folder, *words)
    assert code == 1
    assert (ErrorCode.INSPECT_BAD_TOKEN if "ann" in words else ErrorCode.INSPECT_BAD_INSPECTOR) in told
