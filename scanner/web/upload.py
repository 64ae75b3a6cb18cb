"""Uploaded cutouts: limited in size and kind, and read in a process of its own, which a hostile file may end."""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Request, UploadFile

from catalogs.errors import ErrorCode, ScannerError
from scanner.survey.survey import Survey
from scanner.web.site import site_of
from scanner.windows.by_position import Flux
from scanner.windows.frame import WindowFrame

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
    content = file.file.read(LARGEST + 1)
    name = Path((file.filename or "cutout.fits").replace("\\", "/")).name[:100]
    if len(content) > LARGEST:
        hint = "Cut a smaller part around the object."
        raise ScannerError(ErrorCode.CUTOUT_UNREADABLE, f"{name} is larger than {LARGEST // 2**20} MB.", hint)
    if not content.startswith(MAGIC):
        raise ScannerError(ErrorCode.CUTOUT_UNREADABLE, f"{name} is not a FITS file.", "Upload a cutout as FITS.")
    digest = hashlib.sha256(content).hexdigest()[:32]
    if digest not in site.uploads:
        with tempfile.TemporaryDirectory() as folder, _turn:
            path = Path(folder) / "cutout.fits"
            path.write_bytes(content)
            pixels = read_apart(path, site.builder.survey, site.frame)
        site.uploads[digest] = site.builder.embed(name, pixels)
        for old in list(site.uploads)[:-KEPT]:
            site.uploads.pop(old, None)
    return {"upload": digest, "at": f"/search?upload={digest}"}


def read_apart(path: Path, survey: Survey, frame: WindowFrame, seconds: float = SECONDS) -> Flux:
    """Read a cutout [B, S, S] in nJy in a process of its own.

    Raises:
        ScannerError: As ``read_cutout`` does, or ``cutout.unreadable`` where the process was ended.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_read, args=(path, survey, frame, there), daemon=True)
    process.start()
    there.close()
    answer: Flux | ScannerError | None = None
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
    return answer


def _read(path: Path, survey: Survey, frame: WindowFrame, out: Connection[Any, Any]) -> None:
    from scanner.windows.by_position import read_cutout

    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS), int(SECONDS)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        out.send(read_cutout(path, survey, frame))
    except ScannerError as error:
        # The path of the temporary file says nothing to who uploaded it.
        message = error.message.replace(str(path), "The file")
        out.send(ScannerError(error.code, message, error.hint))
