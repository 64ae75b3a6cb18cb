"""FITS files spoilt in ways that follow from a seed, and a judge of what the scanner makes of them.

``python -m tests.support.mutants FOLDER FIRST STOP`` judges mutants in a process of its own, so that one that crashes
or hangs the FITS reader takes only that process with it. It prints two JSON lines a mutant: that it begins, what came.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import resource
import select
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from scanner.images.tile_images import open_tile
from scanner.scan import prepare
from scanner.scan.options import LOW, NORMAL, ScanOptions
from scanner.scan.report import TileReport
from scanner.survey import survey
from scanner.survey.tile import Tile
from tests.support import small_tiles, tiny_encoder
from tests.support.honest_reader import honest

NAME, SIZE = "200.292", 96
PATIENCE = 600.0
"""Seconds after which a mutant counts as one that hangs; they take some milliseconds on a quiet machine."""

INSIDE = 0.7
"""Share of the mutants of a file compressed as a whole that are spoilt before it is compressed."""

ROOM = 3 << 30
"""Bytes of address space beyond what the process began with: who asks for more is told so instead of being served."""

KINDS: dict[str, tuple[bool, dict[str, Any]]] = {
    "rice": (True, {"compression_type": "RICE_1", "quantize_method": 1, "dither_seed": 3}),
    "rice2": (True, {"compression_type": "RICE_1", "quantize_method": 2, "dither_seed": 7}),
    "rice0": (True, {"compression_type": "RICE_1", "quantize_method": -1, "tile_shape": (32, 40)}),
    "int": (False, {"compression_type": "RICE_1", "tile_shape": (16, SIZE)}),
    "gzip1": (True, {"compression_type": "GZIP_1", "quantize_level": 0}),
    "gzip2": (True, {"compression_type": "GZIP_2", "quantize_level": 0}),
    "gzipq": (True, {"compression_type": "GZIP_2", "quantize_method": 1, "dither_seed": 5}),
    "wavelets": (True, {"compression_type": "HCOMPRESS_1", "tile_shape": (16, SIZE)}),
    "lists": (False, {"compression_type": "PLIO_1"}),
    "stored": (True, {"compression_type": "NOCOMPRESS", "quantize_level": 0}),
}
"""Kinds of compression: whether of floating-point numbers, and the settings of astropy."""

CARD, BLOCK = 80, 2880
KEYS = """
SIMPLE XTENSION EXTEND BITPIX NAXIS NAXIS1 NAXIS2 NAXIS3 PCOUNT GCOUNT BSCALE BZERO BLANK EXTNAME EXTTYPE CTYPE1 CTYPE2
CUNIT1 CRVAL1 CRVAL2 CRPIX1 CRPIX2 CDELT1 CDELT2 CD1_1 CD1_2 CD2_1 CD2_2 PC1_1 PC1_2 PC2_2 CROTA2 LONPOLE LATPOLE
RADESYS EQUINOX WCSAXES PV1_1 PV2_1 A_ORDER B_ORDER A_2_0 CPDIS1 D2IMDIS1 MP_NO_DATA MP_BAD TFIELDS TFORM1 TTYPE1 TFORM2
TTYPE2 THEAP ZIMAGE ZCMPTYPE ZBITPIX ZNAXIS ZNAXIS1 ZNAXIS2 ZTILE1 ZTILE2 ZNAME1 ZVAL1 ZNAME2 ZVAL2 ZQUANTIZ ZDITHER0
ZBLANK ZSCALE ZZERO ZSIMPLE CONTINUE END
""".split()  # noqa: SIM905
VALUES = """
0 1 -1 2 3 7 -5 8 16 32 -32 -64 17 999 1000000 2147483647 -2147483648 99999999999999999999 1.5 0.0 1E-300 1E308 1E400
-1E400 NaN Inf T F 'text' '' 'RA---TAN' 'DEC--SIP' 'RA---TPV' 'RA---ZPN' 'LINEAR' 'GLON-TAN' 'RICE_1' 'GZIP_1' 'GZIP_2'
'PLIO_1' 'HCOMPRESS_1' '1PB(9)' '1QB(99999)' '1D' '99999999E' 'COMPRESSED_DATA' 'NONE' 'SUBTRACTIVE_DITHER_2'
'BLOCKSIZE' 'MASK' 'IMAGE' 'unterminated (1,2) \x01\x02 \xe9
""".split()  # noqa: SIM905


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: ``outcome`` is a stable code, ``rows`` or what went wrong; ``bad`` if it must not be.

    ``grown`` is by how much the peak of the process' memory grew, in MB.
    """

    seed: int
    how: str
    outcome: str
    bad: bool
    grown: int = 0


def write_originals(folder: Path) -> None:
    """One small tile: r raw, and compressed in every way; g with its mask and variance, raw and compressed."""
    small_tiles.write(folder, NAME, size=SIZE, objects=12, bands="gr")
    raw, planes = (small_tiles.band_file(folder, NAME, band) for band in "rg")
    image, header = fits.getdata(raw, header=True)
    counts = np.rint(image * 100).astype(np.int16)
    for kind, (is_float, options) in KINDS.items():
        pixels = image if is_float else counts.clip(0, None) if kind == "lists" else counts
        fits.CompImageHDU(pixels, header, **options).writeto(folder / f"{kind}.{raw.name}.fz")
    (folder / f"deflated.{raw.name}.gz").write_bytes(gzip.compress(raw.read_bytes()))
    with fits.open(planes) as hdus:
        for kind, mask in (("lists", "PLIO_1"), ("rice", "RICE_1")):
            ways = {"IMAGE": "RICE_1", "MASK": mask, "VARIANCE": "RICE_1"}
            packed = [
                fits.CompImageHDU(hdu.data, hdu.header, hdu.name, ways[hdu.name], tile_shape=(16, SIZE))
                for hdu in hdus[1:]
            ]
            fits.HDUList([fits.PrimaryHDU(), *packed]).writeto(folder / f"{kind}.{planes.name}.fz")


def originals(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith((".fits", ".fz", ".gz")))


def kind_of(name: str) -> str:
    """What stands before the name that the survey gives to a file: how it is compressed."""
    return next((f"{kind}." for kind in (*KINDS, "deflated") if name.startswith(f"{kind}.")), "")


def judge_all(folder: Path, first: int, stop: int) -> Iterator[Verdict]:
    """Verdicts on the mutants of seeds ``first`` to ``stop``, each judged in a child that may crash or hang."""
    while first < stop:
        for verdict in judged_by_child(folder, first, stop):
            first = verdict.seed + 1
            yield verdict


def command(folder: Path, first: int, stop: int) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", __name__, str(folder), str(first), str(stop)]


def judged_by_child(folder: Path, first: int, stop: int) -> Iterator[Verdict]:
    """Verdicts up to ``stop``, or up to the mutant that ended the child."""
    at, buffer, how = first, b"", ""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command(folder, first, stop), stdout=subprocess.PIPE, env=environment, cwd=Path(__file__).parents[2]
    ) as child:
        assert child.stdout is not None
        while True:
            if not select.select([child.stdout], [], [], PATIENCE)[0]:
                child.kill()
                yield Verdict(at, how, "hung", bad=True)
                return
            chunk = os.read(child.stdout.fileno(), 1 << 16)
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in map(json.loads, lines):
                at, how = line["seed"], line["how"]
                if "outcome" in line:
                    yield Verdict(**line)
                    at += 1
            if not chunk:
                break
    if not how:
        raise RuntimeError(f"the judge ended with status {child.returncode} before its first mutant")
    if at < stop:
        yield Verdict(at, how, f"the process ended with status {child.returncode}", bad=True)


def mutant(folder: Path, seed: int) -> tuple[str, str, bytes]:
    """The name of the original, what was done to it, and the mutant's bytes."""
    rng = np.random.default_rng(seed)
    path = originals(folder)[seed % len(originals(folder))]
    raw, done = path.read_bytes(), []
    if is_inside := path.suffix == ".gz" and rng.random() < INSIDE:
        raw = gzip.decompress(raw)
        done.append("inside")
    for _ in range(int(rng.integers(1, 4))):
        spoil = _SPOILERS[rng.integers(len(_SPOILERS))]
        raw, what = spoil(rng, raw)
        done.append(what)
    return path.name, f"{path.name}: {'; '.join(done)}", gzip.compress(raw, mtime=0) if is_inside else raw


def _original(folder: Path, seed: int) -> tuple[str, str, bytes]:
    path = originals(folder)[seed]
    return path.name, path.name, path.read_bytes()


Spoiler = Callable[[np.random.Generator, bytes], tuple[bytes, str]]


def _flip(rng: np.random.Generator, raw: bytes) -> tuple[bytes, str]:
    spoilt, count = bytearray(raw), int(2 ** rng.uniform(0, 8))
    for at in rng.integers(0, max(len(raw), 1), count if raw else 0):
        spoilt[at] ^= 1 << int(rng.integers(8))
    return bytes(spoilt), f"{count} bits flipped"


def _cut(rng: np.random.Generator, raw: bytes) -> tuple[bytes, str]:
    at = int(rng.integers(0, len(raw) + 1))
    return raw[:at], f"cut after {at} bytes"


def _splice(rng: np.random.Generator, raw: bytes) -> tuple[bytes, str]:
    """A run of bytes removed, doubled, or overwritten by zeros, ones or noise."""
    start, length = int(rng.integers(0, len(raw) + 1)), int(2 ** rng.uniform(0, 13))
    run = raw[start : start + length]
    noise = rng.integers(0, 256, len(run), np.uint8).tobytes()
    what = ("removed", "doubled", "zeros", "ones", "noise")[kind := int(rng.integers(5))]
    instead = (b"", run * 2, bytes(len(run)), b"\xff" * len(run), noise)[kind]
    return raw[:start] + instead + raw[start + length :], f"{length} bytes from {start} {what}"


def _append(rng: np.random.Generator, raw: bytes) -> tuple[bytes, str]:
    more = rng.integers(0, 256, int(rng.integers(1, 3 * BLOCK)), np.uint8).tobytes()
    return raw + more, f"{len(more)} bytes of noise after the end"


def _card(rng: np.random.Generator, raw: bytes) -> tuple[bytes, str]:
    """A card of some header set to a wild value: in place where it is there, else before its END."""
    key, value = str(rng.choice(KEYS)), str(rng.choice(VALUES))
    places = [at for at in range(0, len(raw), CARD) if raw[at : at + 8] == key.ljust(8).encode()]
    card = f"{key:<8}= {value:>20}".ljust(CARD).encode("latin-1")[:CARD]
    if places:
        at = int(rng.choice(places))
        return raw[:at] + card + raw[at + CARD :], f"{key} = {value!r}"
    return _inserted(rng, raw, [card]), f"{key} = {value!r} added"


def _pixels(rng: np.random.Generator, raw: bytes) -> tuple[bytes, str]:
    """Both sides of an image, raw or compressed, so large that their product is wild."""
    side = int(rng.choice([1, 3, 95, 97, 5_000, 29_999, 1_000_000, 2**31 - 1, 2**31, 2**62]))
    for key in ("NAXIS1", "NAXIS2", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2")[slice(*rng.choice(7, 2, replace=False))]:
        for at in range(0, len(raw), CARD):
            if raw[at : at + 8] == key.ljust(8).encode():
                raw = raw[:at] + f"{key:<8}= {side:>20}".ljust(CARD).encode() + raw[at + CARD :]
    return raw, f"sides of {side}"


def _continue(rng: np.random.Generator, raw: bytes) -> tuple[bytes, str]:
    """A text that is continued for ever, by cards that are whole, broken, or continue themselves."""
    count = int(2 ** rng.uniform(0, 12))
    body = str(rng.choice(["'and so on &'", "'", "= 'CONTINUE &'", "'&'", ""]))
    cards = [f"LONGTEXT= '{'x' * 60}&'".ljust(CARD).encode(), *[f"CONTINUE  {body}".ljust(CARD).encode()] * count]
    return _inserted(rng, raw, cards), f"{count} times CONTINUE {body}"


def _inserted(rng: np.random.Generator, raw: bytes, cards: list[bytes]) -> bytes:
    """Cards before the END of a header, which grows by blocks as it must; sometimes END itself is lost."""
    ends = [at for at in range(0, len(raw), CARD) if raw[at : at + CARD] == b"END".ljust(CARD)]
    if not ends:
        return raw
    at = int(rng.choice(ends))
    after = raw[at + CARD :]
    if rng.random() < 0.9:
        cards = [*cards, b"END".ljust(CARD)]
        after = raw[-(-(at + CARD) // BLOCK) * BLOCK :]
    header = raw[:at] + b"".join(cards)
    return header + b" " * (-len(header) % BLOCK) + after


def _descriptors(rng: np.random.Generator, raw: bytes) -> tuple[bytes, str]:
    """Lengths and places of compressed tiles, which stand at the start of the data that follow a header."""
    ends = [at for at in range(0, len(raw), CARD) if raw[at : at + CARD] == b"END".ljust(CARD)]
    if not ends:
        return raw, "nothing"
    start = -(-(int(rng.choice(ends)) + CARD) // BLOCK) * BLOCK + 4 * int(rng.integers(0, 12))
    wild = int(rng.choice([-1, 0, 1, 5, 100_000, 2**31 - 1, -(2**31)]))
    return raw[:start] + np.array([wild], ">i4").tobytes() + raw[start + 4 :], f"descriptor {wild} at {start}"


def _sizes(rng: np.random.Generator, raw: bytes) -> tuple[bytes, str]:
    """Wild numbers where some compressed tile begins, and its stream may say how long or how large it is."""
    ends = [at for at in range(0, len(raw), CARD) if raw[at : at + CARD] == b"END".ljust(CARD)]
    header = raw[: ends[-1]].rpartition(b"XTENSION")[2] if ends else b""
    found = [re.search(rb"%s *= *(\d+)" % card, header) for card in (b"NAXIS1", b"NAXIS2")]
    start = -(-(ends[-1] + CARD) // BLOCK) * BLOCK if ends else 0
    width, rows = (int(number[1][:4]) if number else 0 for number in found)
    row = start + width * int(rng.integers(0, rows or 1))
    place = int.from_bytes(raw[row + 4 : row + 8], "big") if 8 <= width <= 24 else 0
    at = start + width * rows + place + int(rng.integers(0, 26))
    wild = int(rng.choice([0, 1, 2, 3, 16, 95, 97, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 1])).to_bytes(4, "big")
    size = int(rng.integers(1, 5))
    return raw[:at] + wild[-size:] + raw[at + size :], f"{size} bytes at {at} are {wild[-size:].hex()}"


_SPOILERS: tuple[Spoiler, ...] = (
    *(_flip, _cut, _splice, _append, _pixels, _continue, _descriptors, _sizes, _sizes),
    *[_card] * 8,
)


def judge(folder: Path, seed: int) -> Verdict:
    """What the scanner makes of a mutant: a refusal by its code, or rows that are what astropy reads in the file.

    Seeds below zero are the originals.
    """
    name, how, raw = mutant(folder, seed) if seed >= 0 else _original(folder, seed)
    path = folder / "mutant" / name.removeprefix(kind_of(name))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    options = ScanOptions(memory=LOW if seed % 3 == 0 else NORMAL)
    band = "g" if "calexp" in name else "r"
    job = prepare.ReaderJob(survey.load("unions"), tiny_encoder.contract(), options)
    parts = list(prepare.prepare(job, Tile(NAME, {band: path})))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    last = parts[-1]
    if isinstance(last, TileReport):
        bad = last.code in ("tile.unexpected", "tile.out_of_memory") or not last.hint
        return Verdict(seed, how, f"{last.code}: {last.message}" if bad else last.code, bad, grown)
    wrong = _wrong(path, band, [part for part in parts if isinstance(part, prepare.Prepared)])
    return Verdict(seed, how, wrong or "rows", bool(wrong), grown)


def _wrong(path: Path, band: str, parts: list[prepare.Prepared]) -> str:
    """What in the rows is not what astropy reads in the file; "" where all is."""
    opened, channel = open_tile(survey.load("unions"), Tile(NAME, {band: path})), "ugriz".index(band)
    try:
        flux, variance, wcs = honest(path, band)
    except Exception as error:  # noqa: BLE001  (whatever it raises, the file should have been refused)
        return f"rows, where astropy cannot read it: {error!r}"
    if not _same(opened.flux[channel], flux):
        return "other pixels than in the file"
    if (opened.variance[channel] is None) != (variance is None) or not _same(opened.variance[channel], variance):
        return "another variance than in the file"
    return next(filter(None, (_wrong_rows(part, opened.flux, wcs) for part in parts if len(part))), "")


def _same(ours: NDArray[np.float32] | None, theirs: NDArray[np.float32] | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    # Below the least normal number, float32 has fewer digits.
    tiny = float(np.finfo(np.float32).tiny)
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-6, atol=tiny, equal_nan=True)


def _wrong_rows(part: prepare.Prepared, flux: NDArray[np.float32], wcs: WCS) -> str:
    """What is wrong with rows, given the right pixels [B, H, W] and the right WCS."""
    window, rows = tiny_encoder.contract().window, part.rows
    padded = np.pad(flux, ((0, 0), (window, window), (window, window)), constant_values=np.nan)
    for got, *centre in zip(part.windows.gather(0, len(part)), rows["x"], rows["y"], strict=True):
        corners = product(*({math.ceil(at - window / 2 + tie) + window for tie in (-1e-4, 1e-4)} for at in centre))
        cuts = (padded[:, y : y + window, x : x + window] for x, y in corners)
        if not any(np.array_equal(got, cut, equal_nan=True) for cut in cuts):
            return f"a window of other pixels than those around {centre}"
    right = wcs.pixel_to_world(rows["x"], rows["y"]).icrs
    ra, dec = right.ra.deg, right.dec.deg
    if not (np.isfinite(rows["ra"]).all() and (np.abs(rows["dec"]) <= 90).all()):
        return "positions that are not on the sky"
    away = np.hypot((ra - rows["ra"] + 180) % 360 - 180, dec - rows["dec"])
    return "" if (away < 1e-6).all() else f"positions {away.max()} degrees from where the WCS in the file has them"


def main(folder: Path, first: int, stop: int) -> None:
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    for seed in range(-len(originals(folder)), 0):  # what memory sound files take is not the mutants'
        assert judge(folder, seed).outcome == "rows", judge(folder, seed)
    if Path("/proc/self/statm").exists():
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for seed in range(first, stop):
        _say({"seed": seed, "how": mutant(folder, seed)[1]})
        _say(asdict(judge(folder, seed)))


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
