"""Verification of HDUs by the sums in their headers: DATASUM of the data, CHECKSUM of header and data.

Of a compressed image the sums are those of the table that is stored; ZDATASUM and ZHECKSUM of the image are not used.

Source: FITS standard 4.0, section 4.4.2.7 and appendix J.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.fits import errors_of

CARDS = DATASUM, CHECKSUM = "DATASUM", "CHECKSUM"
_AT_ONCE = 2**18
"""Bytes that are summed at once; they stay in the processor's cache."""

_WORD = 2**32 - 1
"""Sums are ones' complements of 32 bits: they are the same as their remainder by this."""


def check_sums(hdus: fits.HDUList, plane: Any, path: Path) -> None:
    """Refuse an open file where the HDU ``plane`` is not what it was when its sums were written.

    An HDU without sums passes; of others all bytes are read. The first header is verified too, if it is without data.

    Raises:
        ScannerError: ``tile.checksum``, or as ``errors_of``.
    """
    with errors_of(path):
        for number, hdu in enumerate(hdus):
            place = hdu.fileinfo()
            if hdu is not plane and (number > 0 or place["datSpan"]):
                continue
            if why := difference(hdu):
                raise _wrong(path, number, hdu, why)


def difference(hdu: Any) -> str:
    """How an HDU of an open file differs from what its sums say; empty where they fit, or where it has none."""
    header, place = getattr(hdu, "_bintable", hdu).header, hdu.fileinfo()
    cards = {card: text for card in CARDS if (text := str(header.get(card, "")).strip())}
    if not cards:
        return ""
    data = sum_bytes(place["file"], place["datLoc"], place["datLoc"] + place["datSpan"])
    if DATASUM in cards and not (cards[DATASUM].isdecimal() and _is_same(int(cards[DATASUM]), data)):
        return f"DATASUM is {cards[DATASUM]}, the sum of its data is {data}: the data are damaged"
    if CHECKSUM in cards and not _is_same(sum_bytes(place["file"], place["hdrLoc"], place["datLoc"]) + data, 0):
        return "CHECKSUM does not fit: its header was edited, or is damaged"
    return ""


def sum_bytes(file: Any, start: int, stop: int) -> int:
    """The ones' complement sum of the bytes of a file, as 32-bit words."""
    total = 0
    file.seek(start)
    for at in range(start, stop, _AT_ONCE):
        content = file.read(min(_AT_ONCE, stop - at))
        words = np.frombuffer(content + b"\0" * (-len(content) % 4), ">u4")
        total += int(words.sum(dtype=np.uint64))
    # The remainder 0 is written as all ones, unless there was nothing to add.
    return total % _WORD or (_WORD if total else 0)


def _is_same(one: int, other: int) -> bool:
    return one % _WORD == other % _WORD


def _wrong(path: Path, number: int, hdu: Any, what: str) -> ScannerError:
    hint = f"Fetch the file again. If a program edited it, renew its sums (fitscheck --write --force {path}), or use "
    hint += "--no-checksums."
    name = f" ({hdu.name})" if hdu.name else ""
    return ScannerError(ErrorCode.TILE_CHECKSUM, f"{path}, HDU {number}{name}: {what}.", hint)
