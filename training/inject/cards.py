"""Cards of a FITS header, edited as bytes: every other card stays as it was written, and sums are renewed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from astropy.io import fits

from scanner.images.checksums import CHECKSUM, DATASUM, sum_bytes

CARD, BLOCK = 80, 2880
STALE = ("ZDATASUM", "ZHECKSUM")
"""Sums of an image before its compression, which are not those of a changed image."""

_WORD = 2**32 - 1
_BLANK_SUM = "0" * 16
_PUNCTUATION = {*range(0x3A, 0x41), *range(0x5B, 0x61)}
"""ASCII codes between digits and letters, which a checksum must not hold."""


def edit(header: bytes, changes: Mapping[str, Any], notes: Sequence[fits.Card] = ()) -> bytes:
    """Change the values of cards that a header has, drop ``STALE`` ones, and add ``notes`` before its END."""
    cards = []
    for at in range(0, len(header), CARD):
        card = header[at : at + CARD]
        keyword = card[:8].decode("ascii", "replace").strip()
        if keyword == "END":
            break
        if keyword in changes:
            parsed = fits.Card.fromstring(card)
            cards.append(_image(fits.Card(keyword, changes[keyword], parsed.comment)))
        elif keyword not in STALE:
            cards.append(card)
    content = b"".join([*cards, *map(_image, notes), b"END".ljust(CARD)])
    return content.ljust(-(-len(content) // BLOCK) * BLOCK)


def renew_sums(file: BinaryIO, start: int, data: int, end: int) -> None:
    """Renew the cards DATASUM and CHECKSUM of the HDU in [start, end) of a file, if it has them; ``data`` is where its
    data begin.

    Source: FITS standard 4.0, section 4.4.2.7.
    """
    file.seek(start)
    header = file.read(data - start)
    words = fits.Header.fromstring(header)
    total = sum_bytes(file, data, end)
    if DATASUM in words:
        header = edit(header, {DATASUM: str(total)})
    if CHECKSUM in words:
        header = edit(header, {CHECKSUM: _BLANK_SUM})
        file.seek(start)
        file.write(header)
        total = (sum_bytes(file, start, data) + total) % _WORD
        header = edit(header, {CHECKSUM: encode(total)})
    file.seek(start)
    file.write(header)
    file.seek(end)


def encode(total: int) -> str:
    """Encode the complement of a sum of 32 bits in 16 letters and digits, which make the sum of their HDU 0.

    Source: FITS standard 4.0, appendix J.
    """
    columns = []
    for byte in (_WORD - total).to_bytes(4):
        four = [byte // 4 + ord("0")] * 4
        four[0] += byte % 4
        # Pairs move apart, so that their sum stays and no punctuation is left.
        while _PUNCTUATION.intersection(four):
            for one, other in ((0, 1), (2, 3)):
                if _PUNCTUATION.intersection((four[one], four[other])):
                    four[one], four[other] = four[one] + 1, four[other] - 1
        columns.append(four)
    text = "".join(chr(columns[byte][letter]) for letter in range(4) for byte in range(4))
    # The value begins at the twelfth byte of its card, so the letters are turned by one within the words.
    return text[-1] + text[:-1]


def _image(card: fits.Card) -> bytes:
    return str(card).encode("ascii")
