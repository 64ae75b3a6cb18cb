"""A survey is a file: bands, file names, HDUs and zero points, read from TOML and checked key by key."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from scanner.survey import templates
from scanner.survey.toml_table import Table

SURVEYS = Path(__file__).parents[1] / "surveys"
GRIDS = ("unions",)
AB_NANOJANSKY = 31.4
"""AB zero point of a flux in nJy: m = 31.4 - 2.5 log10(flux). Source: Oke & Gunn 1983."""

Hdu = tuple[int | str, ...]
"""Where a plane may be, in order of preference: an index, or a name found as EXTNAME or EXTTYPE."""

_BAND_NAME = re.compile("[A-Za-z][A-Za-z0-9_]{0,15}")


@dataclass(frozen=True)
class Plane:
    """A plane that goes with a band's image: its mask or its variance.

    ``beside`` (old, new) turns the image's file name into that of the plane's own file; None: an HDU of the same file.
    ``bits`` are the bits (name to number; the header's MP_<name> wins) that mean "no data". ``inverse``: 1/variance.
    """

    hdu: Hdu
    beside: tuple[str, str] | None = None
    bits: Mapping[str, int] = field(default_factory=dict)
    inverse: bool = False


@dataclass(frozen=True)
class Band:
    """One band: file names in order of preference, where its image is, and how counts become nanojansky."""

    name: str
    files: tuple[str, ...]
    folders: tuple[str, ...]
    hdu: Hdu
    zero_point: float
    zero_is_missing: bool
    mask: Plane | None
    variance: Plane | None

    @property
    def to_nanojansky(self) -> float:
        """Factor from counts to nJy."""
        return nanojansky_per_count(self.zero_point)


@dataclass(frozen=True)
class Survey:
    """What must be known of a survey to open its tiles. ``pixel_scale`` is in arcsec; ``fields`` tell tiles apart."""

    name: str
    bands: tuple[Band, ...]
    pixel_scale: float
    grid: str | None
    tile: str
    ids: tuple[str, ...]
    fields: Mapping[str, str]
    layouts: tuple[str, ...]
    suffixes: tuple[str, ...]
    detection: tuple[str, ...]

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self.bands)

    @property
    def digest(self) -> str:
        """SHA-256 of what the file says; comments and layout of the file do not change it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def band(self, name: str) -> Band:
        for band in self.bands:
            if band.name == name:
                return band
        raise ScannerError(
            ErrorCode.SURVEY_UNKNOWN_BAND,
            f"Survey {self.name} has no band {name!r}.",
            f"Its bands are {', '.join(self.band_names)}.",
        )

    def read_file_name(self, name: str) -> tuple[str, templates.Fields] | None:
        """Band and tile fields that a file name stands for, None if it is not one of this survey's images."""
        for band in self.bands:
            for template in band.files:
                for suffix in self.suffixes:
                    if (values := templates.read(template + suffix, self.fields, name)) is not None:
                        return band.name, values
        return None

    def read_id(self, text: str) -> templates.Fields | None:
        """Tile fields of an id as people write it (``217.292``), None if it has no such form."""
        for template in (self.tile, *self.ids):
            if (values := templates.read(template, self.fields, text)) is not None:
                return values
        return None


def nanojansky_per_count(zero_point: float) -> float:
    """Flux in nJy of one count of an image with an AB ``zero_point``: 10**(-0.4 * (zero_point - 31.4))."""
    return float(10 ** (-0.4 * (zero_point - AB_NANOJANSKY)))


def builtin() -> list[str]:
    """Names of the surveys that come with the package."""
    return sorted(path.stem for path in SURVEYS.glob("*.toml"))


def load(name_or_path: str | Path) -> Survey:
    """A built-in survey by its name, or one of your own from a ``.toml`` file.

    Raises ``ScannerError``: ``survey.missing`` (there is neither), ``survey.bad_file`` (names the key that is wrong).
    """
    text = str(name_or_path)
    path = Path(text)
    if path.suffix != ".toml":
        path = SURVEYS / f"{text}.toml"
        if text not in builtin():
            raise _missing(f"There is no survey {text!r}.")
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _missing(f"Survey file {text!r} cannot be read ({error}).") from error
    try:
        return _survey(Table(tomllib.loads(content), str(path)))
    except tomllib.TOMLDecodeError as error:
        raise ScannerError(
            ErrorCode.SURVEY_BAD_FILE, f"{text} is not TOML: {error}.", "Copy a built-in one."
        ) from error


def _missing(message: str) -> ScannerError:
    hint = f"Give one of {', '.join(builtin())}, or the path of your own .toml file."
    return ScannerError(ErrorCode.SURVEY_MISSING, message, hint)


def _survey(table: Table) -> Survey:
    kinds = table.mapping("fields", str)
    for name, kind in kinds.items():
        table.check(name.isidentifier() and _compiles(kind), f"fields.{name}", 'is neither "int" nor an expression')
    folder = {"file": "", "folder": ""}
    names = table.table("bands")
    bands = tuple(_band(name, names.table(name), kinds) for name in names.keys)
    survey = Survey(
        name=table.text("name"),
        bands=bands,
        pixel_scale=table.number("pixel_scale"),
        grid=table.text("grid", default="") or None,
        tile=table.templates("tile", kinds)[0],
        ids=table.templates("ids", kinds, default=[]),
        fields=kinds,
        layouts=table.templates("layouts", {**kinds, **folder}, default=["{file}"]),
        suffixes=table.texts("suffixes", default=["", ".fz"]),
        detection=table.texts("detection"),
    )
    table.check(bool(bands), "bands", "is empty")
    table.check(survey.pixel_scale > 0, "pixel_scale", "must be positive")
    table.check(survey.grid is None or survey.grid in GRIDS, "grid", f"is not one of {', '.join(GRIDS)}")
    table.check(all("{" + name in survey.tile for name in kinds), "tile", "must hold every one of the fields")
    table.check(all(layout.endswith("{file}") for layout in survey.layouts), "layouts", "must end in {file}")
    unknown = set(survey.detection) - set(survey.band_names)
    table.check(bool(survey.detection) and not unknown, "detection", f"names no band of this survey: {sorted(unknown)}")
    table.finish()
    return survey


def _band(name: str, table: Table, kinds: Mapping[str, str]) -> Band:
    table.check(bool(_BAND_NAME.fullmatch(name)), "", "is no name for a band (letters and digits, a letter first)")
    band = Band(
        name=name,
        files=table.templates("files", kinds),
        folders=table.texts("folders", default=[name]),
        hdu=table.hdu("hdu"),
        zero_point=table.number("zero_point"),
        zero_is_missing=table.flag("zero_is_missing"),
        mask=_plane(table, "mask"),
        variance=_plane(table, "variance"),
    )
    table.check(bool(band.files) and "/" not in "".join(band.files), "files", "must be names of files, without folders")
    table.check(-100 < band.zero_point < 100, "zero_point", "is no AB magnitude")
    table.finish()
    return band


def _plane(band: Table, key: str) -> Plane | None:
    if not band.has(key):
        return None
    table = band.table(key)
    beside = table.texts("beside", default=[])
    bits = table.mapping("bits", int, default={})
    plane = Plane(table.hdu("hdu"), (beside[0], beside[1]) if len(beside) == 2 else None, bits, table.flag("inverse"))
    table.check(len(beside) in (0, 2), "beside", "must be two texts: what to replace in the image's name, and by what")
    table.check(all(0 <= bit < 64 for bit in bits.values()), "bits", "must be bit numbers from 0 to 63")
    table.finish()
    return plane


def _compiles(kind: str) -> bool:
    try:
        return kind == templates.INTEGER or re.compile(kind).groups == 0
    except re.error:
        return False
