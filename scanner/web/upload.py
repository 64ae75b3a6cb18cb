"""Uploaded cutouts: limited in size and kind, and read in a process of its own, which a hostile file may end."""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, File, Request, UploadFile

from catalogs.errors import ErrorCode, ScannerError
from scanner.queries.query import Position, read_table
from scanner.sources.tables.files import ENDINGS
from scanner.web.site import site_of
from scanner.windows.by_position import read_cutout

Answer = TypeVar("Answer")

router = APIRouter(tags=["search"])

LARGEST = 32 * 2**20
"""Bytes of an uploaded file."""
SECONDS = 60.0
MEMORY = 4 * 2**30
"""Bytes of memory that the process may take."""
KEPT = 100
"""Cutouts that the server remembers."""
MAGIC = b"SIMPLE  ="
# Each process takes memory, so that few run at a time.
_turn = threading.Semaphore(2)


@router.post("/upload", status_code=201)
def upload(request: Request, file: Annotated[UploadFile, File(description="A cutout as FITS.")]) -> dict[str, Any]:
    """Take a FITS cutout of your own, and embed it; ``upload`` of a search then names its digest."""
    site = site_of(request)
    name, content = _take(file, "cutout.fits", ErrorCode.CUTOUT_UNREADABLE)
    if not content.startswith(MAGIC):
        raise ScannerError(ErrorCode.CUTOUT_UNREADABLE, f"{name} is not a FITS file.", "Upload a cutout as FITS.")
    digest = hashlib.sha256(content).hexdigest()[:32]
    if digest not in site.uploads:
        with tempfile.TemporaryDirectory() as folder, _turn:
            path = Path(folder) / "cutout.fits"
            path.write_bytes(content)
            pixels = read_apart(read_cutout, path, site.builder.survey, site.frame)
        site.uploads[digest] = site.builder.embed(name, pixels)
        for old in list(site.uploads)[:-KEPT]:
            site.uploads.pop(old, None)
    return {"upload": digest, "at": f"/search?upload={digest}"}


def read_list(file: UploadFile) -> tuple[str, list[Position]]:
    """Take an uploaded list of candidates; returns the name of its file, and the positions in their order.

    Raises:
        ScannerError: ``hunt.bad_list``, ``sources.*``, or as ``read_apart`` does.
    """
    name, content = _take(file, "list.csv", ErrorCode.HUNT_BAD_LIST)
    ending = Path(name).suffix.lower()
    if ending not in ENDINGS:
        hint = f"Give a table that ends in {', '.join(sorted(ENDINGS))}."
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, f"{name} is not a table.", hint)
    with tempfile.TemporaryDirectory() as folder, _turn:
        path = Path(folder) / f"list{ending}"
        path.write_bytes(content)
        return name, read_apart(_positions, path)


def _positions(path: Path) -> list[Position]:
    return list(read_table(path))


def _take(file: UploadFile, default: str, code: ErrorCode) -> tuple[str, bytes]:
    """The plain name of an uploaded file, and its bytes."""
    content = file.file.read(LARGEST + 1)
    name = Path((file.filename or default).replace("\\", "/")).name[:100] or default
    if len(content) > LARGEST:
        raise ScannerError(code, f"{name} is larger than {LARGEST // 2**20} MB.", "Give a smaller part of it.")
    return name, content


def read_apart(read: Callable[..., Answer], path: Path, *arguments: object, seconds: float = SECONDS) -> Answer:
    """Read a file by ``read(path, *arguments)`` in a process of its own, which has limits of memory and time.

    Raises:
        ScannerError: As ``read`` does, or ``cutout.unreadable`` where the process was ended.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_read, args=(read, path, arguments, there), daemon=True)
    process.start()
    there.close()
    answer: list[Answer] | ScannerError | None = None
    try:
        if here.poll(seconds):
            answer = here.recv()
    except (EOFError, OSError):
        pass
    finally:
        here.close()
        process.kill()
        process.join()
    if answer is None:
        message = "The file could not be read: reading it took too long or too much memory."
        raise ScannerError(ErrorCode.CUTOUT_UNREADABLE, message, "Check the file, or cut a smaller part.")
    if isinstance(answer, ScannerError):
        raise answer
    return answer[0]


def _read(read: Callable[..., Answer], path: Path, arguments: Sequence[object], out: Connection[Any, Any]) -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS), int(SECONDS)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        out.send([read(path, *arguments)])
    except ScannerError as error:
        # The path of the temporary file says nothing to who uploaded it.
        message = error.message.replace(str(path), "The file")
        out.send(ScannerError(error.code, message, error.hint))
