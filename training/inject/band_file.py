"""The files of one band with light added: the survey's own names, HDUs, headers and units, and nothing else changed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
from astropy.io import fits

from catalogs import atomic
from catalogs.errors import ErrorCode, ScannerError
from scanner.images import band as bands
from scanner.survey.survey import Band
from training.inject import cards
from training.inject.compressed import compressed_plane
from training.inject.light import Light
from training.inject.planes import Adder, Change, plain_plane

NOTE = "INJECTED"
"""Card of an image with injected lenses: how many lie on its tile."""
_AT_ONCE = 2**24
_TIME = 0
"""Seconds since 1970 in the header of gzip: bytes must not depend on the time."""


@dataclass(frozen=True)
class Edit:
    """One HDU of an open file, and what adds light to it."""

    hdu: Any
    adder: Adder


def write_band(band: Band, path: Path, folder: Path, light: Light, gain: float, lenses: int, seed: int) -> list[Path]:
    """Write the files of a band into ``folder`` with ``light`` in its image; returns their paths.

    ``gain`` is in electrons per nJy: the variance plane, if there is one, grows by the photon noise of the light. An
    image that was compressed is compressed again as it was.

    Raises:
        ScannerError: ``inject.asinh``, ``inject.twice``, ``inject.compression``, ``inject.range``, or as ``open_band``
            does.
    """
    written = []
    with ExitStack() as stack:
        source = bands.open_band(stack, band, path, with_variance=True)
        _check(source)
        for file in bands.files(band, path):
            if not file.exists():
                continue
            edits = [
                Edit(
                    hdu,
                    Adder(light, change, np.random.default_rng([seed, zlib.crc32(f"{file.name} {k}".encode())]), file),
                )
                for k, (hdu, place, change) in enumerate(_changes(source, gain))
                if place == file and lenses
            ]
            with atomic.replacing(folder / file.name) as temporary:
                _write(file, temporary, edits, lenses)
            written.append(folder / file.name)
    return written


def _changes(source: bands.BandFile, gain: float) -> Iterator[tuple[Any, Path, Change]]:
    """Yield the planes of a band that light changes, each with its file."""
    band, scale = source.band, source.band.to_nanojansky
    yield source.image, source.path, Change(scale, zero_is_missing=band.zero_is_missing)
    if source.variance is not None and band.variance is not None:
        beside = band.variance.name_beside(source.path.name) or source.path.name
        yield source.variance, source.path.with_name(beside), Change(scale, gain, band.variance.inverse)


def _check(source: bands.BandFile) -> None:
    if source.asinh is not None:
        message = f"{source.path}: its pixels are asinh of the counts (BSOFTEN, BOFFSET), not linear in flux."
        raise ScannerError(ErrorCode.INJECT_ASINH, message, "Expand them to counts first, and remove the two cards.")
    if NOTE in source.image.header:
        message = f"{source.path} has {source.image.header[NOTE]} injected lenses already ({NOTE})."
        raise ScannerError(ErrorCode.INJECT_TWICE, message, "Give the files of the survey.")


def _write(path: Path, target: Path, edits: Iterable[Edit], lenses: int) -> None:
    """Copy a file to ``target`` with its edits, compressed as a whole if it was."""
    edits = sorted(edits, key=lambda edit: edit.hdu.fileinfo()["hdrLoc"])
    if not edits:
        shutil.copyfile(path, target)
        return
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"SIMPLE"):
        with target.open("w+b") as out:
            _copy(edits, out, lenses)
        return
    # What is compressed as a whole is expanded first; the file without a name leaves nothing behind.
    with tempfile.TemporaryFile(dir=target.parent) as out, target.open("wb") as raw:
        _copy(edits, out, lenses)
        out.seek(0)
        with _compressor(start, raw) as stream:
            shutil.copyfileobj(out, stream, _AT_ONCE)


def _copy(edits: list[Edit], out: BinaryIO, lenses: int) -> None:
    """Copy the content of a file, in which the HDUs of the edits change."""
    file = edits[0].hdu.fileinfo()["file"]
    done = 0
    for edit in edits:
        place = edit.hdu.fileinfo()
        _copy_bytes(file, out, done, place["hdrLoc"])
        file.seek(place["hdrLoc"])
        header = file.read(place["datLoc"] - place["hdrLoc"])
        note = fits.Card(NOTE, lenses, "lenses painted into the tile, see truth.csv")
        if isinstance(edit.hdu, fits.CompImageHDU):
            changes, data = compressed_plane(edit.hdu, edit.adder)
            content: Iterable[bytes] = [data]
        else:
            changes = {}
            content = plain_plane(fits.Header.fromstring(header), file, place["datLoc"], edit.adder)
        start = out.tell()
        out.write(cards.edit(header, changes, [note]))
        data_start = out.tell()
        for some in content:
            out.write(some)
        out.write(b"\0" * (-(out.tell() - data_start) % cards.BLOCK))
        cards.renew_sums(out, start, data_start, out.tell())
        done = place["datLoc"] + place["datSpan"]
    _copy_bytes(file, out, done, file.size)


def _copy_bytes(file: Any, out: BinaryIO, start: int, end: int) -> None:
    file.seek(start)
    while start < end and (some := file.read(min(_AT_ONCE, end - start))):
        out.write(some)
        start += len(some)


def _compressor(start: bytes, raw: BinaryIO) -> IO[bytes]:
    if start.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile("", "wb", fileobj=raw, mtime=_TIME))
    return bz2.open(raw, "wb") if start.startswith(b"BZh") else lzma.open(raw, "wb")
