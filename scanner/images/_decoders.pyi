from typing_extensions import Buffer

def rice(heap: Buffer, parts: Buffer, size: int, block: int, width: int, out: Buffer, /) -> int | None: ...
def rice_quantised(
    heap: Buffer,
    parts: Buffer,
    size: int,
    block: int,
    width: int,
    out: Buffer,
    scale: Buffer,
    zero: Buffer,
    row: int,
    method: int,
    blank: int | None,
    /,
) -> int | None: ...
def unshuffle(raw: Buffer, size: int, out: Buffer, /) -> None: ...
def scale(
    raw: Buffer, is_swapped: bool, factor: float, low: float, high: float, zero_is_missing: bool, out: Buffer, /
) -> None: ...
def is_hcompressed(stream: Buffer, high: int, wide: int, /) -> bool: ...
