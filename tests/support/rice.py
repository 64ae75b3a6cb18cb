"""An encoder of Rice's code, written down from the FITS standard: slow, and for any block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

HEADER, RAW = {1: 3, 2: 4, 4: 5}, {1: 6, 2: 14, 4: 25}
"""Bits in front of a block, and how many low bits say "as it is", by the bytes of a value."""


def encoded(values: list[int], block: int, width: int, lows: Iterator[int]) -> bytes:
    """Values in Rice's code (FITS standard 4.0, section 10.4.1); each block with the number of low bits that is given,
    -1 for one whose values do not change, and as they are where they would not fit otherwise."""
    whole = 1 << 8 * width
    bits = [f"{values[0] % whole:0{8 * width}b}"]
    differences = [0, *((after - before + whole // 2) % whole - whole // 2 for before, after in pairwise(values))]
    folded = [2 * change if change >= 0 else -2 * change - 1 for change in differences]
    for start in range(0, len(values), block):
        some, low = folded[start : start + block], next(lows)
        if any(some) or low >= 0:
            low = low if 0 <= low < RAW[width] and max(some) >> low < 3000 else RAW[width]
        bits.append(f"{low + 1:0{HEADER[width]}b}")
        for number in some if low >= 0 else ():
            if low == RAW[width]:
                bits.append(f"{number:0{8 * width}b}")
            else:
                bits.append("0" * (number >> low) + "1" + (f"{number % (1 << low):0{low}b}" if low else ""))
    return packed("".join(bits))


def packed(bits: str) -> bytes:
    """Bits, "0" and "1", as bytes, with zeros behind them."""
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)
