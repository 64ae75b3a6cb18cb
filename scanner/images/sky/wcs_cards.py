"""The WCS cards of a header, checked: astropy and wcslib replace what they cannot read by a default, without a word."""

from __future__ import annotations

import math
import re
from typing import Any

from astropy import units
from astropy.coordinates import FK4, FK5, BarycentricMeanEcliptic, FK4NoETerms, Galactic, Supergalactic
from astropy.io.fits import VerifyError
from astropy.time import Time

_REQUIRED = ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")
_SIP = re.compile("(A|B|AP|BP)_(ORDER|DMAX|[0-9]_[0-9])")
_PV = re.compile("PV([12])_([0-9]+)")
_NUMBERS = re.compile(
    rf"(CRVAL|CRPIX|CDELT|CROTA)[12]|(CD|PC)[12]_[12]|LONPOLE|LATPOLE|WCSAXES|{_SIP.pattern}|{_PV.pattern}"
)
_TEXTS = re.compile("(CTYPE|CUNIT)[12]|RADESYS|RADECSYS|EQUINOX|EPOCH")
_TABLES = re.compile("(CPDIS|CQDIS|D2IMDIS)[12]")
MAX_ORDER = 9
"""The highest order of a SIP polynomial; astropy would allocate any number of terms. Source: Shupe et al. 2005."""

_EQUATORIAL = {"FK5": (FK5, "jyear", 2000.0), "FK4": (FK4, "byear", 1950.0), "FK4-NO-E": (FK4NoETerms, "byear", 1950.0)}
"""For each RADESYS its frame, the years that count its equinox, and the equinox where a header gives none."""


class CardError(ValueError):
    """What is wrong with a card; the text names it."""


def check(header: Any) -> tuple[Any, tuple[str, ...]]:
    """Check the WCS cards of a header; the header as wcslib should read it, and notes on what its cards leave open.

    Raises:
        CardError: A card is missing, is not a number, contradicts another one, or asks for what is not read.
    """
    _check_presence(header)
    _check_numbers(header)
    changes: dict[str, str | float | None] = {}
    notes: list[str] = []
    for axis in (1, 2):
        unit = _angular_unit(header, f"CUNIT{axis}")
        if unit is not None:
            changes[f"CUNIT{axis}"] = unit
    changes |= dict.fromkeys(_superfluous_pc(header))
    _read_distortion(header, changes, notes)
    if changes:
        header = header.copy()
        for card, value in changes.items():
            if value is None:
                del header[card]
            else:
                header[card] = value
    return header, tuple(notes)


def _check_presence(header: Any) -> None:
    for card in _REQUIRED:
        if card not in header:
            raise CardError(f"{card} is missing")
        try:
            value = header[card]
        except VerifyError as error:
            raise CardError(f"{card} cannot be read") from error
        if card.startswith("CTYPE") and not isinstance(value, str):
            raise CardError(f"{card} is {value!r}, which is no text")
    if not any(card.startswith(("CD1_", "CD2_", "CD00")) for card in header):
        for card in ("CDELT1", "CDELT2"):
            if card not in header:
                raise CardError(f"{card} is missing, and there are no CD cards")
    for card in header:
        if _TABLES.fullmatch(card):
            raise CardError(f"{card} asks for a table of distortions, which is not read")


def _check_numbers(header: Any) -> None:
    """Refuse a text in place of a number, and a card that stands twice with two values: wcslib takes the last one."""
    for card in header:
        is_number = _NUMBERS.fullmatch(card)
        if not is_number and not _TEXTS.fullmatch(card):
            continue
        value = header[card]
        if is_number and not (type(value) in (int, float) and math.isfinite(value)):
            raise CardError(f"{card} is {value!r}, which is no number")
        for place in range(1, header.count(card)):
            if header[card, place] != value:
                raise CardError(f"{card} stands twice, as {value} and as {header[card, place]}")
    for card in ("LONPOLE", "LATPOLE"):
        if abs(header.get(card, 0)) > 360:
            raise CardError(f"{card} is {header[card]}, which is no angle")


def _superfluous_pc(header: Any) -> list[str]:
    """The PC cards beside CD cards, if both say the same."""
    axes = [(i, j) for i in (1, 2) for j in (1, 2)]
    pc = [f"PC{i}_{j}" for i, j in axes if f"PC{i}_{j}" in header]
    if not pc or not any(f"CD{i}_{j}" in header for i, j in axes):
        return []
    for i, j in axes:
        cd_value = header.get(f"CD{i}_{j}", 0.0)
        pc_value = header.get(f"CDELT{i}", 1.0) * header.get(f"PC{i}_{j}", float(i == j))
        if not math.isclose(cd_value, pc_value, rel_tol=1e-6, abs_tol=1e-12):
            raise CardError(f"CD{i}_{j} is {cd_value}, but by CDELT{i} and PC{i}_{j} it is {pc_value}")
    return pc


def _angular_unit(header: Any, card: str) -> str | None:
    """The FITS name of the unit that a CUNIT card means; None where the card has that name, or none, already."""
    text = str(header.get(card, "")).strip()
    if text in ("", "deg"):
        return None
    # Archives write Degrees, DEG or degree, none of which is FITS.
    for name in (text, text.lower(), text.lower().removesuffix("s")):
        try:
            unit = units.Unit(name)
            fits_name = str(unit.to_string("fits"))
        except ValueError:
            continue
        if unit.physical_type == "angle":
            return None if fits_name == text else fits_name
    raise CardError(f"{card} is {text!r}, which is no unit of an angle in FITS")


def _read_distortion(header: Any, changes: dict[str, str | float | None], notes: list[str]) -> None:
    """Decide which distortion the cards mean: that of SIP, of TPV, or none.

    Source: Shupe et al. 2005 (SIP); Calabretta & Greisen 2002 (PV); SCAMP's manual (PV cards of TAN); the registry of
    FITS conventions (TPV).
    """
    ctypes = [str(header[f"CTYPE{axis}"]).strip() for axis in (1, 2)]
    for axis, ctype in enumerate(ctypes, 1):
        if ctype[5:8] in ("TNX", "ZPX"):
            raise CardError(f"CTYPE{axis} is {ctype!r}: the distortions of IRAF, in WAT cards, are not read")
    sip = [card for card in header if _SIP.fullmatch(card)]
    pv = [(int(match[1]), int(match[2])) for card in header if (match := _PV.fullmatch(card))]
    suffixes = [ctype.endswith("-SIP") for ctype in ctypes]
    if any(suffixes):
        if not all(suffixes):
            raise CardError(f"only one of CTYPE1 and CTYPE2 has the suffix -SIP ({ctypes[0]!r}, {ctypes[1]!r})")
        if pv:
            raise CardError(f"PV{pv[0][0]}_{pv[0][1]} stands beside the SIP distortion of CTYPE1 {ctypes[0]!r}")
        _check_sip(header, sip)
        if not sip:
            notes.append("CTYPE has the suffix -SIP, but there are no SIP coefficients: there is no distortion.")
            # Without it astropy would write a paragraph to standard output.
            changes |= {f"CTYPE{axis}": ctype.removesuffix("-SIP") for axis, ctype in enumerate(ctypes, 1)}
        return
    if sip:
        notes.append("CTYPE has no suffix -SIP, so that the SIP coefficients are not applied.")
        changes |= dict.fromkeys(sip)
    if pv and all(ctype.endswith("-TAN") for ctype in ctypes):
        # In TAN only the axis of longitude has PV cards: the native coordinates of the reference point, and the pole's.
        latitude = 1 if ctypes[0][:4] in ("DEC-", "GLAT", "ELAT", "SLAT") else 2
        if any(axis == latitude or number > 4 for axis, number in pv):
            notes.append("PV cards of a TAN projection are taken as a TPV distortion, as SCAMP writes them.")
            ctypes = [ctype[:5] + "TPV" for ctype in ctypes]
            changes |= {f"CTYPE{axis}": ctype for axis, ctype in enumerate(ctypes, 1)}
        elif any(number < 3 for _, number in pv):
            raise CardError(f"PV{pv[0][0]}_{pv[0][1]} of a TAN projection is neither SCAMP's nor the usual one")
    if all(ctype.endswith("-TPV") for ctype in ctypes):
        # The convention's default of both linear terms is 1, which wcslib takes as 0.
        changes |= {f"PV{axis}_1": 1.0 for axis in (1, 2) if (axis, 1) not in pv}


def _check_sip(header: Any, sip: list[str]) -> None:
    """Refuse polynomials that astropy would take in part."""
    for pair in ("A_ORDER", "B_ORDER"), ("AP_ORDER", "BP_ORDER"):
        present = [card for card in pair if card in sip]
        if len(present) == 1:
            raise CardError(f"{present[0]} has no {pair[1 - pair.index(present[0])]} beside it")
        for card in present:
            if not 0 <= header[card] <= MAX_ORDER:
                raise CardError(f"{card} is {header[card]}")
    forward = [card for card in sip if card.startswith(("A_", "B_"))]
    terms = [card for card in forward if not card.endswith(("ORDER", "DMAX")) and header[card] != 0]
    for term in terms:
        order = header.get(f"{term[0]}_ORDER", 0)
        if int(term[2]) + int(term[4]) > order:
            raise CardError(f"{term} is beyond {term[0]}_ORDER, which is {order}")
    if terms and min(header.get("A_ORDER", 0), header.get("B_ORDER", 0)) < 2:
        card = "A_ORDER" if header.get("A_ORDER", 0) < 2 else "B_ORDER"
        raise CardError(f"{card} is {header.get(card, 'missing')}, where {terms[0]} needs an order of at least 2")


def read_frame(header: Any, longitude_type: str) -> tuple[Any | None, tuple[str, ...]]:
    """The frame of astropy in which a header gives longitudes of a type (``RA``, ``GLON``), None for ICRS; with notes.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, section 3.1.

    Raises:
        CardError: RADESYS, EQUINOX, EPOCH or CTYPE is unknown, or they contradict each other.
    """
    if longitude_type == "GLON":
        return Galactic(), ()
    if longitude_type == "SLON":
        return Supergalactic(), ()
    if longitude_type not in ("RA", "ELON"):
        raise CardError(f"the frame {longitude_type!r} of CTYPE1 {header['CTYPE1']!r} is not read")
    notes: list[str] = []
    equinox = _equinox(header, notes)
    system = _system(header, notes)
    if longitude_type == "ELON":
        if system not in ("", "ICRS", "FK5"):
            raise CardError(f"RADESYS is {system!r}, in which ecliptic coordinates are not read")
        return BarycentricMeanEcliptic(equinox=Time(equinox or 2000.0, format="jyear")), tuple(notes)
    if system == "":
        system = "ICRS" if equinox is None else "FK4" if equinox < 1984 else "FK5"
    if system == "ICRS":
        # ICRS has no equinox. That of J2000 is often written and does no harm; any other is not meant for ICRS.
        if "EQUINOX" in header and equinox != 2000.0:
            raise CardError(f"EQUINOX is {header['EQUINOX']}, but RADESYS is ICRS, which has no equinox")
        return None, tuple(notes)
    if system not in _EQUATORIAL:
        raise CardError(f"RADESYS is {system!r}, which is none of ICRS, {', '.join(_EQUATORIAL)}")
    frame, years, default = _EQUATORIAL[system]
    return frame(equinox=Time(equinox or default, format=years)), tuple(notes)


def _system(header: Any, notes: list[str]) -> str:
    """The reference system, in capitals; an empty text where the header has none."""
    values = {card: header[card] for card in ("RADESYS", "RADECSYS") if card in header}
    for card, value in values.items():
        if not isinstance(value, str):
            raise CardError(f"{card} is {value!r}, which is no text")
    texts = [text for value in values.values() if (text := value.strip().upper())]
    if len(texts) == 2 and texts[0] != texts[1]:
        notes.append(f"RADESYS is {texts[0]}, so that RADECSYS {texts[1]} is ignored.")
    return texts[0] if texts else ""


def _equinox(header: Any, notes: list[str]) -> float | None:
    """The year of the equinox; None where the header has none."""
    card = "EQUINOX" if "EQUINOX" in header else "EPOCH"
    if card not in header or (card == "EPOCH" and any(name in header for name in ("RADESYS", "RADECSYS"))):
        return None
    value = header[card]
    if isinstance(value, str):
        value = value.strip().upper().removeprefix("J").removeprefix("B")  # J2000.0, as archives write
    try:
        year = float(value)
    except (TypeError, ValueError):
        year = math.nan
    if isinstance(value, bool) or not 1800 <= year <= 2100:
        raise CardError(f"{card} is {header[card]!r}, which is no equinox")
    if card == "EPOCH":
        # Elsewhere the card is the time of an observation.
        if year not in (1950.0, 2000.0):
            raise CardError(f"EPOCH is {year}, and without EQUINOX it is unclear whether that is the equinox")
        notes.append(f"EPOCH {year} is taken as the equinox, for want of EQUINOX.")
    return year
