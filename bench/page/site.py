"""What the page is measured on: a catalogue with an index, tiles with images, and a server in its own process."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from astropy.io import fits

import catalogs
from bench.harness import rows, tiles
from bench.harness.embeddings import Cloud
from bench.page.people import Address
from catalogs.catalogue import Catalogue
from catalogs.index.build import IndexOptions, build_index
from catalogs.sky import unions_grid
from catalogs.store.provenance import Run
from scanner.survey.bands import BANDS
from scanner.system.resources import usable_cores

DIM, WINDOW, SCALE = 192, 64, 0.18577
COMMAND = "from scanner.cli import main; main()"


def tile_name(number: int) -> str:
    """Tiles side by side, from that of the demo on: its images serve all of them."""
    return f"{tiles.DEMO_COLUMN + number}.292"


def catalogue(folder: Path, count: int, part: float = 1.0) -> Catalogue:
    """Fill a catalogue of ``count`` objects with lens scores, and index it; one that is there is kept.

    They lie in the middle ``part`` of the half degree of each tile.
    """
    scores = {"names": ["lens"], "prevalence": 0.001, "population": "invented"}
    contract = {"embedding_dim": DIM, "bands": list(BANDS), "window": WINDOW, "pixel_scale": SCALE, "scores": scores}
    run = Run("unions", BANDS, "small", "0" * 64, contract, {})
    filled, cloud = catalogs.create(folder, run), Cloud(DIM, count)
    for number, start in enumerate(range(0, count, rows.TILE_ROWS)):
        tile = tile_name(number)
        if filled.tile_path(tile).exists():
            continue
        with filled.writer(tile, run) as file:
            drawn = cloud.draw(min(rows.TILE_ROWS, count - start), stream=100 + number)
            columns = rows.columns(filled.schema, tile, drawn)
            columns["score_lens"] = np.random.default_rng(number).normal(-7, 2, len(drawn)).astype(np.float32)
            for name, middle in zip(("ra", "dec"), unions_grid.centre(tile), strict=True):
                columns[name] = middle + part * (columns[name] - middle)
            file.write(columns)
    build_index(filled, IndexOptions(jobs=usable_cores()))
    return filled


def images(folder: Path, form: str, count: int, width: int, height: int) -> Path:
    """Make the images of the first ``count`` tiles: bands of ``width`` x ``height`` px in the middle of each, once."""
    first = tiles.made(folder, width, form, count=1, rows=height)[0]
    home = folder / f"page-{width}x{height}-{form}-{count}"
    if home.exists():
        return home
    temporary = home.with_name(f".{home.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    shift = unions_grid.centre(tile_name(1))[0] - unions_grid.centre(tile_name(0))[0]
    for number in range(count):
        for source in first.files.values():
            copied = temporary / source.name.replace(str(tiles.DEMO_COLUMN), str(tiles.DEMO_COLUMN + number))
            shutil.copyfile(source, copied)
            if number:
                _move(copied, number * shift)
    # The name appears once all of them are there.
    temporary.rename(home)
    return home


def _move(path: Path, degrees: float) -> None:
    """Move the sky under the images of a file by so much in right ascension."""
    with fits.open(path, mode="update", disable_image_compression=True) as hdus:
        for hdu in hdus:
            if "CRVAL1" in hdu.header:
                hdu.header["CRVAL1"] += degrees


class Server:
    """``scanner serve`` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], address: Address) -> None:
        self._process, self.address = process, address

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> float:
        """CPU-seconds that it used so far; NaN without /proc."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def served(filled: Catalogue, root: Path, project: Path) -> Iterator[Server]:
    """Start the server, and end it afterwards.

    ``RuntimeError`` where it does not start.
    """
    arguments = ["--catalog", filled.path, "--root", root, "--project", project, "--port", 0, "--inspector", "bench"]
    command = [sys.executable, "-c", COMMAND, "serve", *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if len(words) < 2:
            raise RuntimeError("scanner serve did not start")
        parts = urlsplit(words[1])
        address = Address(str(parts.hostname), int(parts.port or 0), parse_qs(parts.query)["token"][0])
        yield Server(process, address)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def forget(folder: Path) -> None:
    """Have the system drop the files of a folder from memory, where it can."""
    if hasattr(os, "posix_fadvise"):
        for path in filter(Path.is_file, folder.rglob("*")):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
