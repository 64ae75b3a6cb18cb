"""The state of a search, which is its address: what is asked, as query parameters."""

from __future__ import annotations

import ast
import json
from typing import Annotated
from urllib.parse import urlencode

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from catalogs.errors import ErrorCode, ScannerError
from catalogs.render import FORMATS
from scanner.queries.query import Mix

MOST = 2000
"""Rows that one search lists, page by page."""
PAGE = 60
HTML = "html"
_MOST_EXAMPLES = 200
# A form sends its empty fields too.
_given = BeforeValidator(lambda value: [one for one in value if one != ""] if isinstance(value, list) else value)


def _known_format(name: str) -> str:
    if name not in ("", HTML, *FORMATS):
        raise ValueError(f"the formats are {', '.join((HTML, *FORMATS))}")
    return name


class Question(BaseModel):
    """What is searched for; without an example (``at``, ``id``, ``upload``) objects come in the order of ``sort``."""

    at: Annotated[list[str], _given] = Field(
        default=[], max_length=_MOST_EXAMPLES, description="Position, name or object_id."
    )
    id: Annotated[list[int], _given] = Field(
        default=[], max_length=_MOST_EXAMPLES, description="object_id of an example."
    )
    upload: Annotated[list[str], _given] = Field(
        default=[], max_length=20, description="Digest that POST /upload gave."
    )
    mix: Mix = Field(default="mean", description="Compare with the mean of the examples, or with the nearest of them.")
    where: str = Field(
        default="", max_length=4000, description="Filter of the rows, such as: mag_r < 21 and is_primary"
    )
    near: str = Field(default="", max_length=100, description="Region: RA,DEC in degrees and the radius in arcsec.")
    sort: str = Field(default="", max_length=100, description="Column that orders the rows; -column: largest first.")
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="Of the random order that there is without an example and sort."
    )
    offset: int = Field(default=0, ge=0, lt=MOST)
    limit: int = Field(default=PAGE, ge=1, le=500)
    format: Annotated[str, AfterValidator(_known_format)] = Field(
        default="",
        description="Format of the answer; by default what the header Accept prefers.",
        json_schema_extra={"enum": ["", HTML, *FORMATS]},
    )

    @property
    def has_example(self) -> bool:
        """Whether it asks for objects that look like something."""
        return bool(self.at or self.id or self.upload)

    def title(self) -> str:
        """Name the question in a few words."""
        if self.has_example:
            count = len(self.at) + len(self.id) + len(self.upload)
            words = f"Like {(self.at + [str(one) for one in self.id] + ['a cutout'])[0]}"
            words += f" and {count - 1} more" if count > 1 else ""
        else:
            words = f"By {self.sort}" if self.sort else "At random"
        return words + (f", {self.where}" if self.where else "")

    def key(self) -> str:
        """Name the question without its page and format: equal questions have equal answers."""
        return self.model_dump_json(exclude={"offset", "limit", "format"})

    def region(self) -> tuple[float, float, float] | None:
        """Read ``near``: ra and dec in degrees, the radius in arcsec.

        Raises:
            ScannerError: ``sky.out_of_range``.
        """
        if not self.near:
            return None
        try:
            ra, dec, radius = (float(part) for part in self.near.split(","))
        except ValueError as error:
            hint = "Write RA,DEC,RADIUS: degrees and arcsec, such as 194.05,56.03,600."
            raise ScannerError(ErrorCode.SKY_OUT_OF_RANGE, f"{self.near!r} is not a region.", hint) from error
        return ra, dec, radius

    def address(self, **changes: object) -> str:
        """Write the address of this question with some fields changed."""
        # A page writes two for each of its objects.
        values = {**self.__dict__, **changes}
        pairs: list[tuple[str, str]] = []
        for name, default in _DEFAULTS.items():
            value = values[name]
            if value != default:
                pairs += [(name, str(one)) for one in (value if isinstance(value, list) else [value])]
        return "/search" + (f"?{urlencode(pairs)}" if pairs else "")


_DEFAULTS = dict(Question())
"""The fields of a question that asks for nothing, in the order in which an address has them."""


def split_filter(where: str) -> list[str]:
    """Split a filter at its outermost ``and``, to show and remove each part; one that cannot be read is one part."""
    try:
        tree = ast.parse(where.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [where] if where.strip() else []
    parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    segments = [ast.get_source_segment(where.strip(), part) or "" for part in parts]
    # Parentheses around a part are not of its source segment.
    return [f"({text})" if isinstance(part, ast.BoolOp) else text for part, text in zip(parts, segments, strict=True)]


def join_filter(parts: list[str]) -> str:
    """Join parts of a filter by ``and``."""
    return " and ".join(parts)


def make_term(field: pa.Field, low: str, high: str, value: str) -> str:
    """Make a part of a filter for a column: a range of numbers, a text, or yes and no; "" where nothing is given.

    Raises:
        ScannerError: ``where.type``.
    """
    name: str = field.name
    if pa.types.is_boolean(field.type):
        return {"yes": name, "no": f"not {name}"}.get(value, "")
    if pa.types.is_string(field.type):
        return f"{name} == {json.dumps(value)}" if value else ""
    try:
        ends = [str(float(one)).removesuffix(".0") if one.strip() else "" for one in (low, high)]
        if {"nan", "inf", "-inf"} & set(ends):
            raise ValueError("not finite")
    except ValueError as error:
        message = f"The limits of {name} are not numbers: {low!r}, {high!r}."
        raise ScannerError(ErrorCode.WHERE_TYPE, message, "Give numbers.") from error
    if all(ends):
        return f"{ends[0]} <= {name} <= {ends[1]}"
    return f"{name} >= {ends[0]}" if ends[0] else f"{name} <= {ends[1]}" if ends[1] else ""
