"""A survey is a TOML file: bands, file names, HDUs and zero points, read strictly and checked."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_toml, read_record
from catalogs.sky import GRIDS
from scanner.survey import templates

Floating = TypeVar("Floating", bound=np.floating[Any])

SURVEYS = Path(__file__).parents[1] / "surveys"
AB_NANOJANSKY = 31.4
"""AB zero point of a flux in nJy. Source: Oke & Gunn 1983."""

Hdu = tuple[int | str, ...]
"""HDUs in which a plane may be, in order of preference: each an index, or a name (EXTNAME or EXTTYPE)."""

# A band's name becomes part of column names, such as mag_r.
_BAND_NAME = re.compile("[A-Za-z][A-Za-z0-9_]{0,15}")


@dataclass(frozen=True)
class Plane:
    """A plane that goes with a band's image: its mask or its variance.

    ``beside`` (old, new) turns the image's file name into that of the plane's own file; None: an HDU of the same file.
    ``bits`` are the bits (name to number; the header's MP_<name> wins) that mean "no data". ``inverse``: 1/variance.
    """

    hdu: Hdu
    beside: tuple[str, ...] | None = None
    bits: Mapping[str, int] = field(default_factory=dict)
    inverse: bool = False

    def name_beside(self, image: str) -> str | None:
        """Name of the plane's own file beside an image file; None where it is an HDU of the image file.

        Raises:
            ScannerError: ``tile.missing_file`` where the image's name lacks the part that is replaced.
        """
        if self.beside is None:
            return None
        old, new = self.beside
        if old not in image:
            message = f"The mask or variance of {image} has no file of its own: its name does not hold {old!r}."
            raise ScannerError(ErrorCode.TILE_MISSING_FILE, message, "Correct beside in the survey file.")
        return image.replace(old, new)


@dataclass(frozen=True)
class Band:
    """One band: file names in order of preference, HDU of its image, and how counts become nanojansky."""

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
    """All that is needed to open the tiles of a survey.

    ``pixel_scale`` is in arcsec. ``fields`` are the parts of a tile's name, each with its form; ``tile`` and ``ids``
    are templates of that name. ``layouts`` and ``suffixes`` say where files lie and how their names end; ``detection``
    lists bands in order of preference.
    """

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
        """SHA-256 of the values; comments and layout of the file do not change it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def band(self, name: str) -> Band:
        """The band of a name.

        Raises:
            ScannerError: ``survey.unknown_band``.
        """
        for band in self.bands:
            if band.name == name:
                return band
        raise ScannerError(
            ErrorCode.SURVEY_UNKNOWN_BAND,
            f"Survey {self.name} has no band {name!r}.",
            f"Its bands are {', '.join(self.band_names)}.",
        )

    def read_file_name(self, name: str) -> tuple[str, templates.Fields] | None:
        """Band and tile fields of a file name; None if it does not name an image of this survey."""
        for band in self.bands:
            for template in band.files:
                for suffix in self.suffixes:
                    if (values := templates.read(template + suffix, self.fields, name)) is not None:
                        return band.name, values
        return None

    def read_id(self, text: str) -> templates.Fields | None:
        """Tile fields of an id as people write it (``217.292``); None if it has no such form."""
        for template in (self.tile, *self.ids):
            if (values := templates.read(template, self.fields, text)) is not None:
                return values
        return None


def nanojansky_per_count(zero_point: float) -> float:
    """Flux in nJy of one count of an image with an AB ``zero_point``: 10**(-0.4 * (zero_point - 31.4))."""
    return float(10 ** (-0.4 * (zero_point - AB_NANOJANSKY)))


@overload
def ab_magnitude(flux: float) -> float: ...
@overload
def ab_magnitude(flux: NDArray[Floating]) -> NDArray[Floating]: ...
def ab_magnitude(flux: Any) -> Any:
    """AB magnitude of one flux or of an array, in nJy: 31.4 - 2.5 log10(flux)."""
    # A zero point is the same on every processor: NumPy's logarithm differs in the last bit where it has AVX-512.
    return AB_NANOJANSKY - 2.5 * (math.log10(flux) if type(flux) is float else np.log10(flux))


def builtin() -> list[str]:
    """Names of the surveys that come with the package."""
    return sorted(path.stem for path in SURVEYS.glob("*.toml"))


def load(name_or_path: str | Path) -> Survey:
    """Load a built-in survey by its name, or a survey of your own from a ``.toml`` file.

    Raises:
        ScannerError: ``survey.missing``, or ``survey.bad_file``, which names the wrong key.
    """
    text = str(name_or_path)
    path = Path(text)
    # Only names that end in .toml are paths, so no file of the working folder hides a built-in survey.
    if path.suffix != ".toml":
        path = SURVEYS / f"{text}.toml"
        if text not in builtin():
            raise _missing(f"There is no survey {text!r}.")
    try:
        return _survey(read_record(_with_lists(load_toml(path)), _SurveyTable))
    except OSError as error:
        raise _missing(f"Survey file {text!r} cannot be read ({error}).") from error
    # TOML's own errors are ValueErrors too.
    except ValueError as error:
        raise ScannerError(
            ErrorCode.SURVEY_BAD_FILE,
            f"{path}: {error}.",
            "Compare it with a built-in survey, such as scanner/surveys/unions.toml.",
        ) from error


def _missing(message: str) -> ScannerError:
    hint = f"Give one of {', '.join(builtin())}, or the path of your own .toml file."
    return ScannerError(ErrorCode.SURVEY_MISSING, message, hint)


@dataclass(frozen=True)
class _BandTable:
    """A table ``[bands.NAME]`` of a survey file."""

    files: tuple[str, ...]
    hdu: Hdu
    zero_point: float
    folders: tuple[str, ...] = ()
    zero_is_missing: bool = False
    mask: Plane | None = None
    variance: Plane | None = None


@dataclass(frozen=True)
class _SurveyTable:
    """A survey file."""

    name: str
    bands: Mapping[str, _BandTable]
    pixel_scale: float
    tile: str
    fields: Mapping[str, str]
    detection: tuple[str, ...]
    grid: str = ""
    ids: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ("{file}",)
    suffixes: tuple[str, ...] = ("", ".fz")


# Keys of a survey file whose list may be written as a single value.
_LISTS = {"ids", "layouts", "suffixes", "detection", "files", "folders", "hdu"}


def _with_lists(table: Mapping[str, Any]) -> dict[str, Any]:
    """A TOML table in which a single value of a key of ``_LISTS`` is a list of one, and so in the tables within."""
    values = {key: _with_lists(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {key: [value] if key in _LISTS and isinstance(value, str | int) else value for key, value in values.items()}


def _survey(table: _SurveyTable) -> Survey:
    """Check what the types of a survey file cannot say.

    Raises:
        ValueError: Its message starts with the key that is wrong.
    """
    kinds = table.fields
    for name, kind in kinds.items():
        _check(name.isidentifier() and _is_kind(kind), f'fields.{name} must be "int" or a regular expression')
    _check_templates("tile", [table.tile], kinds)
    _check_templates("ids", table.ids, kinds)
    # A layout has two more fields: the file's name and the band's folder.
    _check_templates("layouts", table.layouts, {**kinds, "file": "", "folder": ""})
    # A field that the tile's name lacks would give several tiles one name.
    _check(all("{" + name in table.tile for name in kinds), "tile must hold every one of the fields")
    _check(all(layout.endswith("{file}") for layout in table.layouts), "layouts must end in {file}")
    _check(0 < table.pixel_scale < math.inf, "pixel_scale must be a positive number")
    _check(table.grid in ("", *GRIDS), f"grid must be one of {', '.join(GRIDS)}")
    _check(bool(table.bands), "bands must not be empty")
    bands = tuple(_band(name, band, kinds) for name, band in table.bands.items())
    unknown = sorted(set(table.detection) - set(table.bands))
    _check(bool(table.detection) and not unknown, f"detection must name bands of this survey, not {unknown}")
    return Survey(
        name=table.name,
        bands=bands,
        pixel_scale=table.pixel_scale,
        grid=table.grid or None,
        tile=table.tile,
        ids=table.ids,
        fields=dict(kinds),
        layouts=table.layouts,
        suffixes=table.suffixes,
        detection=table.detection,
    )


def _band(name: str, table: _BandTable, kinds: Mapping[str, str]) -> Band:
    key = f"bands.{name}"
    _check(bool(_BAND_NAME.fullmatch(name)), f"{key} must be letters and digits, a letter first")
    _check_templates(f"{key}.files", table.files, kinds)
    # File names are matched without their folders, which the layouts give.
    is_name = bool(table.files) and "/" not in "".join(table.files)
    _check(is_name, f"{key}.files must be names of files, without folders")
    _check(-100 < table.zero_point < 100, f"{key}.zero_point must be an AB magnitude")
    _check_hdu(f"{key}.hdu", table.hdu)
    for kind, plane in (("mask", table.mask), ("variance", table.variance)):
        if plane is not None:
            _check_hdu(f"{key}.{kind}.hdu", plane.hdu)
            two = plane.beside is None or len(plane.beside) == 2
            _check(two, f"{key}.{kind}.beside must be two texts: what to replace in the image's name, and by what")
            # The plane's file lies beside the image, and is another file.
            plain = plane.beside is None or (plane.beside[0] != "" and not {"/", "\0"} & set("".join(plane.beside)))
            _check(plain, f"{key}.{kind}.beside must be parts of a file's name, without folders")
            # The widest integer pixels of FITS have 64 bits.
            valid = all(0 <= bit < 64 for bit in plane.bits.values())
            _check(valid, f"{key}.{kind}.bits must be bit numbers from 0 to 63")
    return Band(
        name=name,
        files=table.files,
        folders=table.folders or (name,),
        hdu=table.hdu,
        zero_point=table.zero_point,
        zero_is_missing=table.zero_is_missing,
        mask=table.mask,
        variance=table.variance,
    )


def _check(valid: bool, complaint: str) -> None:
    if not valid:
        raise ValueError(complaint)


def _check_templates(key: str, values: Sequence[str], kinds: Mapping[str, str]) -> None:
    for template in values:
        try:
            templates.check(template, kinds)
        except ValueError as error:
            raise ValueError(f"{key} has {template!r}: {error}") from error


def _check_hdu(key: str, hdu: Hdu) -> None:
    # For Python a bool is an int, but it is not the number of an HDU.
    is_place = all(not isinstance(one, bool) and (one >= 0 if isinstance(one, int) else one != "") for one in hdu)
    _check(bool(hdu) and is_place, f"{key} must be HDUs: numbers from 0, or names")


def _is_kind(kind: str) -> bool:
    """Whether a field's form is ``"int"`` or a regular expression without groups."""
    try:
        # A template is read by groups named after its fields; a field must not add groups of its own.
        return kind == templates.INTEGER or re.compile(kind).groups == 0
    except (re.error, OverflowError, RecursionError):
        return False
