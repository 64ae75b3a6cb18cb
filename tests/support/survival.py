"""Commands that end at a chosen point, and what they leave.

Each command runs in a process forked from one that has imported everything (``python -m tests.support.survival
MODULE...``), so that a run that is killed costs no start.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from tests.support.waiting import until

REPOSITORY = Path(__file__).parents[2]
PRELOADED = ("catalogs.hats", "catalogs.index.build", "catalogs.maps.build", "scanner.scan.run", "onnxruntime")
OUTPUT_FULL, INTERRUPTED = 1, 130


@dataclass(frozen=True)
class PointOfDeath:
    """Just before its ``nth`` call of ``event`` for a name that ends with ``of``, a process sends itself ``number``.

    ``event`` is an audit event of Python: ``import``, ``open`` or ``os.rename``. With a ``limit`` instead, no file may
    grow beyond so many bytes: the write that would fails or, with ``number`` SIGXFSZ, is the end of the process.
    """

    number: int = 0
    event: str = ""
    of: str = ""
    nth: int = 1
    limit: int = 0

    def __str__(self) -> str:
        if not self.limit and not self.event:
            return "full disk"
        name = signal.Signals(self.number).name if self.number else "error"
        return f"{name} at {self.limit} bytes" if self.limit else f"{name} at {self.event} {self.of} {self.nth}"

    @property
    def killed(self) -> bool:
        """Whether the process has no chance to clean up."""
        return self.number in (signal.SIGKILL, signal.SIGXFSZ)

    @property
    def code(self) -> int:
        """Exit status of a process that ends here."""
        return -self.number if self.killed else INTERRUPTED if self.number else OUTPUT_FULL

    def arm(self, children: Path) -> None:
        """Make this process end here, and write the processes that it started to the file ``children``."""
        if self.limit:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if self.number:
                signal.signal(self.number, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))
        elif self.event:
            seen = itertools.count(1)

            def hook(event: str, given: tuple[Any, ...]) -> None:
                if event == self.event and str(given[1 if event == "os.rename" else 0]).endswith(self.of):
                    self._reached(next(seen), children)

            sys.addaudithook(hook)

    def _reached(self, time_number: int, children: Path) -> None:
        if time_number == self.nth:
            children.write_text(json.dumps(descendants(os.getpid())))
            os.kill(os.getpid(), self.number)
        if time_number >= self.nth and threading.current_thread() is not threading.main_thread():
            time.sleep(1)  # the main thread is to see the signal while there is work left


@dataclass(frozen=True)
class Done:
    """Exit code (negative: the signal), stdout and stderr of a command, and the processes it had started."""

    code: int
    out: str
    err: str
    children: tuple[int, ...] = ()


class Nursery:
    """Two processes that fork commands, seen from a test: one has imported everything, the other nothing.

    The output of the commands goes to files in ``folder``.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._number = folder, itertools.count()
        self._ready, self._bare = (
            subprocess.Popen(
                [sys.executable, "-m", __name__, *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=REPOSITORY,
                env={**os.environ, **environment},
            )
            for modules in (PRELOADED, ())
        )
        self._started: dict[int, tuple[subprocess.Popen[str], Path]] = {}

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for process in (self._ready, self._bare):
            process.communicate()

    def start(self, command: Sequence[object], point: PointOfDeath | None = None, program: str = "") -> int:
        """Start a command, after the Python ``program``; returns the id of its process."""
        point, files = point or PointOfDeath(), self._folder / str(next(self._number))
        words = [str(word) for word in command]
        process = self._bare if point.event == "import" else self._ready
        pid = _ask(process, {"command": words, "point": asdict(point), "program": program, "files": str(files)})
        self._started[pid] = process, files
        return pid

    def wait(self, pid: int) -> Done:
        """Wait for the end of a command."""
        process, files = self._started.pop(pid)
        code = _ask(process, {"wait": pid})
        out, err, children = (files.with_suffix(suffix) for suffix in (".out", ".err", ".json"))
        known = tuple(json.loads(children.read_text())) if children.exists() else ()
        # One that was killed at once has not opened its files.
        said, told = (path.read_text() if path.exists() else "" for path in (out, err))
        return Done(code, said, told, known)

    def run(self, command: Sequence[object], point: PointOfDeath | None = None, program: str = "") -> Done:
        """Start a command and wait for it."""
        return self.wait(self.start(command, point, program))


def _ask(process: subprocess.Popen[str], question: dict[str, object]) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    return int(process.stdout.readline())


@dataclass(frozen=True)
class Command:
    """The ``words`` of a command for a folder of its output, which begins as a copy of ``start``.

    ``files`` match what it makes; those that match ``kept`` are never made twice, and those whose names match
    ``between`` may be there only until it has finished.
    """

    words: Callable[[Path], Sequence[object]]
    files: str
    kept: str = ""
    between: str = "nothing"
    start: Path | None = None

    def begin(self, folder: Path) -> Path:
        """Make the folder as it is before the command; returns it."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.start is not None:
            subprocess.run(["cp", "-a", f"{self.start}/.", folder], check=True)
        return folder

    def made(self, folder: Path) -> dict[str, bytes]:
        """Each of its files, finished ones and those of a publication that is not, by its name when finished."""
        found = {finished_name(path, folder): path for path in visible(folder, self.files)}
        return {name: undated(path.read_bytes()) for name, path in sorted(found.items())}

    def identities(self, folder: Path) -> dict[str, tuple[int, int]]:
        """Inode and time of change of each of the files that are never made twice."""
        if not self.kept:
            return {}
        return {finished_name(path, folder): identity(path) for path in visible(folder, self.kept)}


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def visible(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith(".")]


def finished_name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)).replace(".archive.partial/collection/", "archive/")


def is_whole(name: str, content: bytes) -> bool:
    """Whether a JSON or Parquet file has its end."""
    return bool(json.loads(content)) if name.endswith(".json") else content.endswith(b"PAR1")


def undated(content: bytes) -> bytes:
    """The content without the minute at which a collection was made."""
    lines = content.split(b"\n")
    return b"\n".join(line for line in lines if not line.startswith(b"hats_creation_date="))


def names(folder: Path) -> list[str]:
    """Every file of a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def temporaries(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.endswith(".tmp")]


def descendants(pid: int) -> list[int]:
    """Processes that ``pid`` and its children started."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found + [below for child in found for below in descendants(child)]


def alive(pid: int) -> bool:
    """Whether it runs; one that ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return state(pid) not in "ZX" or not Path("/proc/self").exists()


def state(pid: int) -> str:
    """The kernel's letter for a process: T is stopped, Z and X have ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return "X"


def room(folder: Path) -> int:
    """Bytes that the files of a folder take on a disk of 4 kB pages."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def wait_until_stopped(pid: int) -> None:
    until(lambda: state(pid) in "TZX")
    assert state(pid) == "T"


def run(command: list[str], point: PointOfDeath, program: str, files: Path) -> NoReturn:
    """Run a command in this process, with its output in ``files``.

    Then follows all of an exit but the destructors of libraries, whose threads a forked process lacks.
    """
    import atexit
    import traceback

    for descriptor, path in enumerate((Path(os.devnull), files.with_suffix(".out"), files.with_suffix(".err"))):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    point.arm(files.with_suffix(".json"))
    code: object = 1
    try:
        exec(program, {})
        from scanner.cli import main

        main(command)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  (the test reads it in stderr)
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def fork_commands() -> None:
    """Answer each line of stdin: fork a command, or wait for the end of one."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            run(asked["command"], PointOfDeath(**asked["point"]), asked["program"], Path(asked["files"]))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    fork_commands()
