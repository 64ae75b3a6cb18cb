"""The decoders in C, compiled with the sanitisers of addresses and of undefined behaviour, and fed with spoilt streams.

``python -m tests.support.sanitised 2000`` compiles them and feeds each with 2,000 mutants of every kind of stream, in a
process of its own. It prints how many streams were taken and how many were refused; a fault ends it with a report.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from tests.support import rice

SOURCE = Path(__file__).parents[2] / "scanner/images/_decoders.c"
SANITISERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]
SEED = 14
SIDES = (24, 37)

Decode = Callable[[Any, bytes], Any]


def compile_decoders(folder: Path, compiler: str = "gcc", source: Path = SOURCE) -> Path:
    """Compile the decoders with the sanitisers; the module's file.

    Raises:
        OSError, subprocess.CalledProcessError: There is no such compiler, or it has no sanitisers.
    """
    module = folder / "_decoders.so"
    include = sysconfig.get_paths()["include"]
    command = [compiler, "-shared", "-fPIC", "-ffp-contract=off", *SANITISERS, f"-I{include}", str(source)]
    subprocess.run([*command, "-o", str(module), "-lm"], check=True, capture_output=True, text=True)
    return module


def run(module: Path, count: int, seed: int = SEED, compiler: str = "gcc") -> subprocess.CompletedProcess[str]:
    """Feed a module with mutants in a new process that has the sanitiser's library."""
    ask = [compiler, "-print-file-name=libasan.so"]
    library = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaks
        "PYTHONMALLOC": "malloc",  # or bytes beyond the end of a buffer belong to Python's own pool
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.sanitised", "feed", module, count, seed]
    return subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, env=environment)


def kinds() -> dict[str, tuple[list[bytes], Decode]]:
    """Sound streams of every kind, and what decodes one of them; the decoder's answer says whether it was taken."""
    pixels, random = SIDES[0] * SIDES[1], np.random.default_rng(SEED)
    result: dict[str, tuple[list[bytes], Decode]] = {}

    def place(stream: bytes) -> NDArray[np.int64]:
        return np.array([(len(stream), 0)], np.int64)

    for width in (1, 2, 4):
        values = [random.normal(100, spread, pixels).astype(int) % 120 for spread in (0, 3, 1000)]
        streams = [rice.encoded(some.tolist(), 32, width, iter(lambda: 4, None)) for some in values]

        def decode(decoders: Any, stream: bytes, width: int = width) -> bool:
            return decoders.rice(stream, place(stream), pixels, 32, width, np.empty(pixels, np.int32)) is None

        result[f"Rice, {width} bytes"] = streams, decode

        for method in (-1, 1, 2):

            def restore(decoders: Any, stream: bytes, width: int = width, method: int = method) -> bool:
                out, one = np.empty(pixels, np.float32), np.ones(1)
                place_of = place(stream), pixels, 32, width
                return decoders.rice_quantised(stream, *place_of, out, one, one, 9_999, method, -7) is None

            result[f"Rice, {width} bytes, dither {method}"] = streams, restore

    for size in (2, 4, 8):

        def unshuffle(decoders: Any, stream: bytes, size: int = size) -> bool:
            decoders.unshuffle(stream, size, np.empty(pixels, f"u{size}"))
            return True

        result[f"shuffled, {size} bytes"] = [random.bytes(size * pixels)], unshuffle

    def scale(decoders: Any, stream: bytes) -> bool:
        decoders.scale(stream, True, 2.5, -1e30, 1e30, True, np.empty(pixels, np.float32))
        return True

    result["numbers to be scaled"] = [random.bytes(4 * pixels)], scale
    result["HCOMPRESS"] = list(hcompressed()), lambda decoders, stream: decoders.is_hcompressed(stream, *SIDES)
    return result


def hcompressed() -> Iterator[bytes]:
    """Streams of HCOMPRESS as astropy writes them, of an image of ``SIDES``."""
    random = np.random.default_rng(SEED)
    for spread, scale in ((0, 0), (0.3, 0), (30, 0), (1e6, 0), (300, 4)):
        image = random.normal(0, spread, SIDES).astype(np.int32)
        hdu = fits.CompImageHDU(image, compression_type="HCOMPRESS_1", tile_shape=SIDES, hcomp_scale=scale)
        with tempfile.TemporaryDirectory() as folder:
            hdu.writeto(path := Path(folder) / "image.fits.fz")
            with fits.open(path, disable_image_compression=True) as hdus:
                yield hdus[1].data["COMPRESSED_DATA"][0].tobytes()


def spoil(stream: bytes, random: np.random.Generator) -> bytes:
    """A mutant of a stream: bits flipped, cut, gone on with, its first numbers or any others made wild."""
    raw, kind = bytearray(stream), int(random.integers(5))
    if kind == 0:
        for at in random.integers(0, len(raw), int(2 ** random.uniform(0, 6))):
            raw[at] ^= 1 << int(random.integers(8))
    elif kind == 1:
        del raw[int(random.integers(len(raw))) :]
    elif kind == 2:
        raw += random.bytes(int(random.integers(1, 200)))
    else:
        at = int(random.integers(0, 28 if kind == 3 else len(raw)))
        wild = random.choice(np.array([0, 1, 2, 23, 25, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 1], np.uint32))
        width = int(random.integers(1, 5))
        raw[at : at + width] = int(wild).to_bytes(4, "big")[-width:]
    return bytes(raw)


def feed(path: Path, count: int, seed: int) -> dict[str, Counter[str]]:
    """Decode sound streams, then mutants, in this process; how many of each kind were taken and refused."""
    spec = importlib.util.spec_from_file_location("_decoders", path)
    assert spec is not None
    assert spec.loader is not None
    decoders = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(decoders)
    random, answers = np.random.default_rng(seed), dict[str, Counter[str]]()
    for kind, (streams, decode) in kinds().items():
        assert all(decode(decoders, stream) for stream in streams), kind
        answers[kind] = Counter()
        for number in range(count):
            stream = spoil(streams[number % len(streams)], random)
            try:
                answers[kind]["taken" if decode(decoders, stream) else "refused"] += 1
            except ValueError:  # its size is none that there may be
                answers[kind]["refused"] += 1
    return answers


def main(count: int, seed: int = SEED) -> int:
    with tempfile.TemporaryDirectory() as folder:
        done = run(compile_decoders(Path(folder)), count, seed)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    if sys.argv[1] == "feed":
        counts = feed(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        sys.stdout.write("".join(f"{kind}: {dict(answers)}\n" for kind, answers in counts.items()))
    else:
        sys.exit(main(*map(int, sys.argv[1:])))
