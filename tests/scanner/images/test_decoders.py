"""The decoders in C beside an encoder written down from the standard, and fed with what nobody encoded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.rice import HEADER, RAW, encoded, packed

_decoders = pytest.importorskip("scanner.images._decoders", reason="installed without a compiler")

DITHERS = 10_000


def heap_of(streams: list[bytes]) -> tuple[bytes, NDArray[np.int64]]:
    """Streams with something between them, and how long they are and where they begin."""
    heap, places = b"\xff" * 3, []
    for stream in streams:
        places.append((len(stream), len(heap)))
        heap += stream + b"\x5a" * 5
    return heap, np.array(places, np.int64)


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from([2, 4]), st.sampled_from([1, 5, 16, 32]), st.integers(1, 100), st.integers(1, 4))
def test_rice_decodes_what_was_encoded(data: st.DataObject, width: int, block: int, size: int, parts: int) -> None:
    """Parts of any size and statistics, the last one shorter, in blocks with any number of low bits."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count = (parts - 1) * size + data.draw(st.integers(1, size))
    spread = data.draw(st.sampled_from([0, 1, 30, 3000, 2**14, 2 ** (8 * width - 1) - 1]))
    values = random.integers(-spread - 1, spread, count, endpoint=True)
    values[random.random(count) < data.draw(st.sampled_from([0, 0.5, 0.99]))] = values[0]
    lows = iter(lambda: int(random.integers(-1, RAW[width] + 1)), None)
    streams = [encoded(values[start : start + size].tolist(), block, width, lows) for start in range(0, count, size)]
    out = np.full(count, 77, np.int32)
    assert _decoders.rice(*heap_of(streams), min(size, count), block, width, out) is None
    np.testing.assert_array_equal(out, values)


def test_a_part_without_bytes_is_left_as_it_is() -> None:
    heap, places = heap_of([encoded([5, 6, 7], 32, 4, iter([1])), b"", encoded([8], 32, 4, iter([0]))])
    out = np.full(7, 77, np.int32)
    _decoders.rice(heap, places, 3, 32, 4, out)
    assert out.tolist() == [5, 6, 7, 77, 77, 77, 8]


@pytest.mark.parametrize(("given", "wanted"), [(12, 16), (16, 12), (10, 10)])
def test_values_and_pixels_of_different_sizes_are_refused(given: int, wanted: int) -> None:
    with pytest.raises(ValueError, match="do not fit each other"):
        _decoders.scale(bytes(given), False, 1.0, -1.0, 1.0, False, bytearray(wanted))


def dithers() -> NDArray[np.float32]:
    """Appendix I of the standard, with the number by which it is checked there."""
    seed, found = 1, []
    for _ in range(DITHERS):
        seed = 16807 * seed % 2147483647
        found.append(seed / 2147483647)
    assert seed == 1043618065
    return np.array(found, np.float32)


def restored(values: NDArray[np.int32], scale: float, zero: float, row: int, method: int) -> NDArray[np.float32]:
    """Quantised pixels by section 10.2, one after the other."""
    if method == -1:
        return (values * scale + zero).astype(np.float32)
    numbers, seed = dithers(), row % DITHERS
    place, found = int(numbers[seed] * np.float32(500)), []
    for value in values.tolist():
        exact = (value - float(numbers[place]) + 0.5) * scale + zero
        found.append(0.0 if method == 2 and value == -2147483646 else exact)
        place += 1
        if place == DITHERS:
            seed = (seed + 1) % DITHERS
            place = int(numbers[seed] * np.float32(500))
    return np.array(found, np.float32)


@pytest.mark.parametrize("method", [-1, 1, 2])
@pytest.mark.parametrize("row", [0, 9998, -1])
def test_quantised_pixels_are_those_of_the_standard(method: int, row: int) -> None:
    """Parts so long that their dithers start again, at the end of the table too; blanks, and zeros that stay zeros."""
    random, size, blank = np.random.default_rng(0), 21_000, -2147483647
    values = random.integers(-50, 50, (3, size)).astype(np.int32)
    values[:, ::97], values[:, ::89] = blank, -2147483646
    scale, zero = random.uniform(0.1, 2, 3), random.normal(0, 100, 3)
    heap, places = heap_of([encoded(part.tolist(), 32, 4, iter(lambda: 7, None)) for part in values])
    out = np.zeros((3, size), np.float32)
    _decoders.rice_quantised(heap, places, size, 32, 4, out, scale, zero, row, method, blank)
    for number in range(3):
        wanted = restored(values[number], scale[number], zero[number], row + number, method)
        wanted[values[number] == blank] = np.nan
        np.testing.assert_allclose(out[number], wanted, rtol=3e-7)  # where a processor adds and multiplies in one
    _decoders.rice_quantised(heap, places, size, 32, 4, out, scale, zero, row, method, None)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("size", [2, 4, 8])
def test_bytes_are_put_together_again(size: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (1001, size)).astype(np.uint8)
    out = np.zeros(1001, f"u{size}")
    _decoders.unshuffle(np.ascontiguousarray(values.T), size, out)
    np.testing.assert_array_equal(out, values.view(f">u{size}")[:, 0])


@settings(deadline=None, max_examples=500)
@given(st.binary(min_size=1, max_size=200), st.sampled_from([2, 4]), st.integers(1, 40), st.integers(1, 400))
def test_any_bytes_are_decoded_or_refused(heap: bytes, width: int, block: int, size: int) -> None:
    """Nothing beside the pixels is written to."""
    memory = np.full(size + 2, 77, np.int32)
    places = np.array([(len(heap), 0)])
    assert _decoders.rice(heap, places, size, block, width, memory[1:-1]) in (None, 0)
    assert memory[0] == memory[-1] == 77


def test_what_was_cut_short_or_goes_on_is_refused() -> None:
    stream = encoded(list(range(0, 900, 9)), 32, 4, iter([3, 3, 3, 3]))
    out = np.zeros(100, np.int32)
    for wrong in (*(stream[:length] for length in range(1, len(stream))), stream + b"\0"):
        assert _decoders.rice(*heap_of([wrong]), 100, 32, 4, out) == 0
        assert _decoders.rice(*heap_of([stream, stream, wrong]), 100, 32, 4, np.zeros(300, np.int32)) == 2


@pytest.mark.parametrize("width", [2, 4])
def test_headers_and_numbers_that_nobody_writes_are_refused(width: int) -> None:
    """More low bits than there may be, and a difference that does not fit into 32 bits."""
    first, out = "0" * 8 * width, np.zeros(1, np.int32)
    for low in range(RAW[width] + 1, (1 << HEADER[width]) - 1):
        assert (
            _decoders.rice(*heap_of([packed(f"{first}{low + 1:0{HEADER[width]}b}1{'0' * low}")]), 1, 1, width, out) == 0
        )
    wide = f"{first}{RAW[width]:0{HEADER[width]}b}"
    most = 1 << 32 - (RAW[width] - 1)
    for run, answer in ((most - 1, None), (most, 0)):
        bits = packed(f"{wide}{'0' * run}1{'0' * (RAW[width] - 1)}")
        assert _decoders.rice(*heap_of([bits]), 1, 1, width, out) == answer


def test_buffers_are_let_go_of_where_a_part_is_damaged() -> None:
    heap, places = (bytearray(part) for part in heap_of([b"\0"]))
    out = bytearray(12)
    assert _decoders.rice(heap, places, 3, 32, 4, out) == 0
    assert _decoders.rice_quantised(heap, places, 3, 32, 4, out, np.ones(1), np.ones(1), 0, 1, None) == 0
    for buffer in (heap, places, out):
        buffer.append(0)  # as long as someone looks at it, a BufferError


GOOD = encoded([1, 2, 3], 32, 4, iter([1]))
MISFITS = {
    "a part before the heap": ([(2, -1)], 3, 3),
    "a part behind the heap": ([(2, len(GOOD) - 1)], 3, 3),
    "a part far behind the heap": ([(2, 2**62)], 3, 3),
    "a part of less than no bytes": ([(-1, 0)], 3, 3),
    "a part of too many bytes": ([(2**62, 1)], 3, 3),
    "more parts than pixels": ([(2, 0), (2, 0)], 3, 3),
    "more pixels than parts": ([(2, 0)], 3, 4),
    "a part larger than all": ([(2, 0)], 4, 3),
    "parts of no pixels": ([(2, 0)], 0, 3),
    "no pixels": ([(2, 0)], 3, 0),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_arguments_that_do_not_fit_are_refused(kind: str) -> None:
    places, size, pixels = MISFITS[kind]
    given = GOOD, np.array(places, np.int64), size, 32, 4
    ones = np.ones(len(places))
    for work in (
        lambda: _decoders.rice(*given, np.zeros(pixels, np.int32)),
        lambda: _decoders.rice_quantised(*given, np.zeros(pixels, np.float32), ones, ones, 0, 1, None),
    ):
        with pytest.raises(ValueError, match=r"outside|fit each other"):
            work()


def test_sizes_and_scales_that_do_not_fit_are_refused() -> None:
    places, out = np.array([(len(GOOD), 0)]), np.zeros(3, np.float32)
    for block, width in ((0, 4), (-1, 4), (32, 3), (32, 8)):
        with pytest.raises(ValueError, match="fit each other"):
            _decoders.rice(GOOD, places, 3, block, width, np.zeros(3, np.int32))
    with pytest.raises(ValueError, match="a scale and a zero"):
        _decoders.rice_quantised(GOOD, places, 3, 32, 4, out, np.ones(2), np.ones(1), 0, 1, None)
    with pytest.raises(TypeError):
        _decoders.rice_quantised(GOOD, places, 3, 32, 4, out, np.ones(1), np.ones(1), 0, 1, "none")
    for raw, size in ((b"123", 2), (b"1234", 3), (b"12345678", 2)):
        with pytest.raises(ValueError, match="fit each other"):
            _decoders.unshuffle(raw, size, np.zeros(2, np.uint16))
