"""What the number of a pixel means: units and zero points of FITS headers, read strictly.

An image holds counts at an AB zero point, and a flux unit is one too: nJy is 31.4. What a header says must agree with
itself and with the survey file. What cannot be converted is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from astropy import units

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.calibration import Asinh
from scanner.survey.survey import Band, ab_magnitude

ZERO_POINT_CARDS = (
    *("MAGZERO", "MAG_ZERO", "MAGZEROP", "MAGZPT", "MAGZP", "MAG_ZP", "ABMAGZP", "PHOTZP", "MZP_AB"),
    *("ZEROPNT", "ZEROPOIN", "ZEROPOINT", "ZEROPT", "ZP", "ZP_AB", "ZPAB", "ABZP"),
    *("MAGZEROPOINT", "MAG_ZPT", "MAGZPNT", "MAGZRO", "PHOT_ZP", "PHOTZPT", "ZPT", "ZPMAG", "ZP_MAG", "AB_ZP", "ABZPT"),
)
"""AB magnitude of one count of the image. Nominal ones of a camera, such as PHOT_C of MegaCam, are not among them."""

CARDS = (
    *ZERO_POINT_CARDS,
    *("BUNIT", "FLUXMAG0", "PHOTSYS", "MAGSYS", "BSOFTEN", "BOFFSET"),
    *("FPA.ZP", "EXPTIME", "PHOTFNU", "PHOTFLAM", "PHOTPLAM"),
)

TOLERANCE = 0.01
"""Magnitudes by which two zero points may differ: 1 %, about what the photometry of a survey is good for."""

LIMIT = 60.0
"""Largest zero point that is believed; the faintest unit, W/m2/Hz, has -56.1. Some programs write -999 for none."""

Cards = Mapping[str, Any]
"""Values of those of ``CARDS`` that an image has."""

_COUNTS = {units.ct, units.adu, units.electron, units.DN, units.ph}
_SPELLINGS = {
    "nJy": "njy nanojy nanojansky nanojanskys",
    "uJy": "ujy microjy microjansky microjanskys",
    "Jy": "jy jansky janskys",
    "nmgy": "nmgy nanomaggy nanomaggies nanomaggys",
    "mgy": "mgy maggy maggies maggys",
    "ct": "ct cts count counts",
    "ct/s": "cps",
    "adu": "adu adus",
    "DN": "dn dns du",
    "electron": "e electron electrons",
    "ph": "photon photons",
    "pix": "pix pixel pixels px",
    "s": "sec secs second seconds",
    "Hz": "hz",
    "W": "w",
}
_WORDS = {word: name for name, words in _SPELLINGS.items() for word in words.split()}
_ZERO_POINT_IN_WORDS = re.compile(
    r"(?:flux|counts|adu)?[\s,;(]*(?:AB\s+)?(?:zp|zero[ -]?point)\s*[=:]?\s*([-+]?\d+(?:\.\d*)?)\)?", re.IGNORECASE
)
"""A BUNIT such as ``flux, AB zp 30``."""


@dataclass(frozen=True)
class ZeroPoint:
    """An AB zero point, and the card that gives it, as text."""

    value: float
    card: str

    def __str__(self) -> str:
        return f"{self.card} (an AB zero point of {self.value:.3f})"


def read_cards(hdu: Any, hdus: Sequence[Any], path: Path) -> Cards:
    """The ``CARDS`` of an image HDU; those that it lacks are inherited from the primary header, unless INHERIT is F.

    Raises:
        ScannerError: ``tile.zero_point`` for a card that occurs twice with different values.
    """
    headers = [hdu.header] if hdu.header.get("INHERIT") is False else [hdu.header, hdus[0].header]
    cards: dict[str, Any] = {}
    for card in CARDS:
        # Only Pan-STARRS needs EXPTIME; headers of stacks may hold several.
        for header in headers if card != "EXPTIME" or "FPA.ZP" in cards else ():
            values = [header[card, number] for number in range(header.count(card))] if card in header else []
            # A card without a value, or with an empty text, says nothing.
            values = [value for value in values if value is not None and str(value).strip()]
            if any(value != values[0] for value in values):
                raise _contradiction(path, f"{card} = {values[0]!r}", f"{card} = {values[-1]!r}")
            if values:
                cards[card] = values[0]
                break
    return cards


def check_zero_point(cards: Cards, path: Path, pixel_scale: float, band: Band) -> None:
    """Refuse an image whose header gives another zero point than the survey file does. ``pixel_scale``: arcsec.

    Raises:
        ScannerError: ``tile.zero_point`` or ``tile.unknown_unit``.
    """
    for zero_point in _zero_points(cards, path, pixel_scale):
        if abs(zero_point.value - band.zero_point) > TOLERANCE:
            raise ScannerError(
                ErrorCode.TILE_ZERO_POINT,
                f"{path} has {zero_point}; the survey file says zero_point = {band.zero_point} for band {band.name}.",
                f"Correct zero_point of band {band.name} in a survey file (--survey), or the card if that is wrong.",
            )


def choose_zero_point(cards: Cards, path: Path, pixel_scale: float | None, default: float) -> float:
    """The AB zero point of an image: that of its header, or the default where the header says nothing.

    Raises:
        ScannerError: ``tile.zero_point`` or ``tile.unknown_unit``.
    """
    if zero_points := _zero_points(cards, path, pixel_scale):
        return zero_points[0].value
    # Both say that the counts are not those of the survey's images.
    if _is_rate(cards):
        raise _unknown(path, "BUNIT", _text(cards), "an amount a second without a zero point")
    if sensitivity := next((card for card in ("PHOTFNU", "PHOTFLAM") if card in cards), None):
        raise _unknown(path, sensitivity, cards[sensitivity], "for counts a second, which BUNIT does not say")
    return default


def check_variance(hdu: Any, path: Path, pixel_scale: float, image: Cards, band: Band) -> None:
    """Refuse the plane of variances beside an image where its own header says that it is something else.

    Raises:
        ScannerError: ``tile.unknown_unit``.
    """
    if band.variance is None:
        return
    path = path.with_name(band.variance.name_beside(path.name) or path.name)
    if "BSOFTEN" in hdu.header:
        raise _unknown(path, "BSOFTEN", hdu.header["BSOFTEN"], "not defined for variances")
    text, power = str(hdu.header.get("BUNIT", "")).strip(), -2 if band.variance.inverse else 2
    unit = _parse(text)
    # Some programs copy the image's card to its planes, and units of counts do not say how bright they are.
    if unit is None or text == _text(image):
        return
    by_power = {root: _zero_point_of(unit ** (1 / root), pixel_scale) for root in (-2, -1, 1, 2)}
    zero_point = by_power[power]
    if all(value is None for value in by_power.values()):
        return
    if zero_point is None or abs(zero_point - band.zero_point) > TOLERANCE:
        kind = "inverse variances" if band.variance.inverse else "variances"
        raise _unknown(path, "BUNIT", text, f"not that of {kind} at zero_point = {band.zero_point} of the survey file")


def read_asinh(cards: Cards, path: Path) -> Asinh | None:
    """How the counts of an image were compressed by asinh; None where they are linear.

    Raises:
        ScannerError: ``tile.unknown_unit`` where the cards are incomplete.
    """
    if "BSOFTEN" not in cards and "BOFFSET" not in cards:
        return None
    for card, other in (("BSOFTEN", "BOFFSET"), ("BOFFSET", "BSOFTEN")):
        if card not in cards:
            raise _unknown(path, other, cards[other], f"of an asinh image that has no {card}")
    softening = read_number(path, "BSOFTEN", cards["BSOFTEN"], low=0)
    return Asinh(softening, read_number(path, "BOFFSET", cards["BOFFSET"]), path)


def _zero_points(cards: Cards, path: Path, pixel_scale: float | None) -> list[ZeroPoint]:
    """All zero points that the cards give, which agree.

    Raises:
        ScannerError: ``tile.zero_point`` or ``tile.unknown_unit``.
    """
    unit = _of_unit(cards, path, pixel_scale)
    zero_points = _of_instrument(cards, path) if unit is None else [unit]
    magnitudes = [card for card in ZERO_POINT_CARDS if card in cards]
    for card in magnitudes:
        zero_points.append(ZeroPoint(read_number(path, card, cards[card], -LIMIT, LIMIT), f"{card} = {cards[card]!r}"))
    # Of LSST and HSC: the counts of magnitude 0.
    if "FLUXMAG0" in cards:
        counts = read_number(path, "FLUXMAG0", cards["FLUXMAG0"], low=0)
        zero_points.append(ZeroPoint(2.5 * math.log10(counts), f"FLUXMAG0 = {counts!r}"))
    for one in zero_points:
        if abs(one.value - zero_points[0].value) > TOLERANCE:
            raise _contradiction(path, str(zero_points[0]), str(one))
    for card in ("PHOTSYS", "MAGSYS"):
        if magnitudes and "vega" in str(cards.get(card, "")).lower():
            raise _unknown(path, card, cards[card], "another system of magnitudes than AB")
    return zero_points


def _of_unit(cards: Cards, path: Path, pixel_scale: float | None) -> ZeroPoint | None:
    """The zero point of a flux unit; None for counts, which may be of any brightness."""
    if not (text := _text(cards)):
        return None
    card = f"BUNIT = {text!r}"
    if match := _ZERO_POINT_IN_WORDS.fullmatch(text):
        return ZeroPoint(read_number(path, "BUNIT", match[1], -LIMIT, LIMIT), card)
    unit = _parse(text)
    zero_point = None if unit is None else _zero_point_of(unit, pixel_scale)
    if zero_point is not None:
        return ZeroPoint(zero_point, card)
    if unit is not None and unit.is_equivalent(units.nJy / units.sr):
        raise _unknown(path, "BUNIT", text, "a surface brightness, and the header has no pixel scale")
    if unit is None or not _are_counts(unit):
        raise _unknown(path, "BUNIT", text, "no unit that can be converted to nJy")
    return None


def _zero_point_of(unit: units.UnitBase, pixel_scale: float | None) -> float | None:
    """AB zero point of a unit of flux, or of surface brightness where the pixel scale (arcsec) is known; else None."""
    if pixel_scale is not None and unit.is_equivalent(units.nJy / units.sr):
        factor = unit.to(units.nJy / units.arcsec**2) * pixel_scale**2
    elif unit.is_equivalent(units.nJy):
        factor = unit.to(units.nJy)
    else:
        return None
    return ab_magnitude(float(factor)) if factor > 0 else None


def _of_instrument(cards: Cards, path: Path) -> list[ZeroPoint]:
    """Zero points of an exposure of a second: of stacks of Pan-STARRS, and of images of HST in counts a second.

    Source: Waters et al. 2020, ApJS 251, 4 (Pan-STARRS); HST Data Handbook, PHOTFLAM and PHOTFNU.
    """
    zero_points = []
    if "FPA.ZP" in cards:
        if "EXPTIME" not in cards:
            raise _unknown(path, "FPA.ZP", cards["FPA.ZP"], "for a second, and EXPTIME is missing")
        seconds = read_number(path, "EXPTIME", cards["EXPTIME"], low=0)
        zero_point = read_number(path, "FPA.ZP", cards["FPA.ZP"], -LIMIT, LIMIT) + 2.5 * math.log10(seconds)
        zero_points.append(ZeroPoint(zero_point, f"FPA.ZP = {cards['FPA.ZP']!r} with EXPTIME = {seconds:g}"))
    if _is_rate(cards):
        flux, wavelength, flux_by_wavelength = (
            read_number(path, card, cards.get(card, 0)) for card in ("PHOTFNU", "PHOTPLAM", "PHOTFLAM")
        )
        if flux > 0:
            zero_points.append(
                ZeroPoint(ab_magnitude(float((flux * units.Jy).to_value(units.nJy))), f"PHOTFNU = {flux!r}")
            )
        if flux_by_wavelength > 0 and wavelength > 0:
            density = flux_by_wavelength * units.erg / (units.s * units.cm**2 * units.AA)
            density = density.to(units.nJy, units.spectral_density(wavelength * units.AA))
            zero_points.append(ZeroPoint(ab_magnitude(float(density.value)), f"PHOTFLAM = {flux_by_wavelength!r}"))
    return zero_points


def _text(cards: Cards) -> str:
    return str(cards.get("BUNIT", "")).strip()


def _is_rate(cards: Cards) -> bool:
    """Whether BUNIT is counts a second."""
    unit = _parse(_text(cards))
    return unit is not None and _are_counts(unit * units.s)


def _are_counts(unit: units.UnitBase) -> bool:
    """Whether a unit is that of counts, or of counts a second, or a mere number."""
    powers = dict(zip(unit.bases, unit.powers, strict=True))
    if powers.pop(units.s, -1) != -1:
        return False
    return unit.scale == 1 and (not powers or (powers.keys() <= _COUNTS and list(powers.values()) == [1]))


@lru_cache(maxsize=256)
def _parse(text: str) -> units.UnitBase | None:
    """A unit in its base units, maggies in AB fluxes and a pixel for itself; None for what is no unit.

    The case of letters counts, since MJy is mega and mJy milli: MJY may be either, and is no unit.
    """
    if text.isupper() and "MJY" not in text:
        text = text.lower()
    # An electron is often written e-, which is no power of ten.
    text = re.sub(r"(?<![\w.])e-(?![\d.])", "electron", text)
    text = re.sub(r"(?<![\d.])[^\W\d_]+", lambda word: _WORDS.get(word[0].lower(), word[0]), text)
    with catch_warnings():
        simplefilter("ignore")
        for standard in ("fits", "generic"):
            try:
                return _decompose(units.Unit(text, format=standard))
            except (ValueError, ArithmeticError):
                continue
    return None


def _decompose(unit: Any) -> units.UnitBase | None:
    """A unit of astropy as a product of base units, or None."""
    # Magnitudes, decibel and the like are no factors; nor is an AB magnitude a flux because its name is one.
    if not isinstance(unit, units.UnitBase) or {"AB", "ST"} & {base.name for base in unit.bases}:
        return None
    unit = unit.decompose()
    powers = dict(zip(unit.bases, unit.powers, strict=True))
    unit = unit * (units.ABflux / units.mgy) ** powers.get(units.mgy, 0)
    # What is given for each pixel is that of a pixel.
    return (unit / units.pix ** min(powers.get(units.pix, 0), 0)).decompose()


def read_number(path: Path, card: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """The number of a card between two limits; some programs write it as a text.

    Raises:
        ScannerError: ``tile.unknown_unit``.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _unknown(path, card, value, "not a number")
    if not low < number < high:
        raise _unknown(path, card, value, f"not between {low:g} and {high:g}")
    return number


def _contradiction(path: Path, one: str, other: str) -> ScannerError:
    message = f"{path} contradicts itself: it has {one} and {other}."
    return ScannerError(ErrorCode.TILE_ZERO_POINT, message, "Remove or correct the card that is wrong.")


def _unknown(path: Path, card: str, value: Any, why: str) -> ScannerError:
    hint = "Give the pixels in nJy (BUNIT), or in counts with their AB zero point (MAGZERO), and correct the header."
    return ScannerError(ErrorCode.TILE_UNKNOWN_UNIT, f"{path}: {card} is {value!r:.100}, {why}.", hint)
