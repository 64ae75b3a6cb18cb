"""Records are read strictly, and the message names the key that is wrong."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from catalogs.records import load_json, load_toml, read_record


@dataclass(frozen=True)
class Band:
    zero_point: float
    hdu: tuple[int | str, ...] = (0,)
    zero_is_missing: bool = False


@dataclass(frozen=True)
class Survey:
    name: str
    bands: Mapping[str, Band]
    side: int = 1
    grid: str | None = None
    detection: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def read(**changes: Any) -> Survey:
    return read_record({"name": "unions", "bands": {"u": {"zero_point": 30}}} | changes, Survey)


def test_nested_values_follow_their_types() -> None:
    made = read(bands={"u": {"zero_point": 30, "hdu": [1, "IMAGE"]}}, detection=["r", "i"], settings={"a": [1]})
    assert made == Survey("unions", {"u": Band(30.0, (1, "IMAGE"))}, detection=("r", "i"), settings={"a": [1]})
    assert type(made.bands["u"].zero_point) is float
    assert read(grid=None).grid is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nane": "x"}, "has the unknown key 'nane'; is it 'name'?"),
        ({"name": 5}, "name must be a text, not 5"),
        ({"side": "5"}, "side must be a whole number, not '5'"),
        ({"side": True}, "side must be a whole number, not True"),
        ({"side": 1.0}, "side must be a whole number, not 1.0"),
        ({"detection": "ri"}, "detection must be a list, not 'ri'"),
        ({"detection": ["r", 1]}, "detection[1] must be a text, not 1"),
        ({"bands": [1]}, "bands must be a table, not [1]"),
        ({"bands": {"u": 3}}, "bands.u must be a table, not 3"),
        ({"bands": {"u": {}}}, "bands.u.zero_point is missing"),
        ({"bands": {"u": {"zero_point": "x"}}}, "bands.u.zero_point must be a number, not 'x'"),
        ({"bands": {"u": {"zero_point": 1, "zero": 1}}}, "bands.u has the unknown key 'zero'"),
        ({"grid": 4}, "grid"),
    ],
)
def test_the_first_wrong_key_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        read(**changes)


def test_a_list_is_no_record() -> None:
    with pytest.raises(ValueError, match=r"must be a table, not \[\]"):
        read_record([], Survey)


def test_json_and_toml_are_read_from_text_bytes_and_files(tmp_path: Path) -> None:
    path = tmp_path / "é.json"
    path.write_bytes('\ufeff{"names": ["é", "\\ud83d\\ude00"], "n": 1}'.encode())
    assert load_json(path) == {"names": ["é", "😀"], "n": 1}
    assert load_json("3") == 3
    assert load_json(b'"x"') == "x"
    path.write_text('name = "é"', encoding="utf-8")
    assert load_toml(path) == load_toml('name = "é"') == {"name": "é"}


@pytest.mark.parametrize("brackets", [33, 500, 200_000])
def test_what_is_nested_too_deeply_is_refused_as_any_other_damage(brackets: int) -> None:
    lists, tables = "[" * brackets + "]" * brackets, '{"a":' * brackets + "1" + "}" * brackets
    for load, text in ((load_json, lists), (load_json, tables), (load_toml, f"a = {lists}")):
        with pytest.raises(ValueError, match="nested too deeply"):
            load(text)
    with pytest.raises(ValueError, match="nested too deeply"):
        load_toml(".".join("a" * 40) + " = 1")


def test_a_real_depth_is_no_trouble() -> None:
    assert load_json("[" * 20 + "]" * 20) == json.loads("[" * 20 + "]" * 20)


@pytest.mark.parametrize("damage", [b"\xff\xfe{}", b"{\x00}", b"", b"\x1f\x8b\x08"])
def test_what_is_no_text_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "x.json").write_bytes(damage)
    with pytest.raises(ValueError):  # noqa: PT011 (each has words of its own)
        load_json(tmp_path / "x.json")


def test_a_file_name_that_is_not_utf8_comes_back() -> None:
    assert load_json(json.dumps({"model": "a\udcff.onnx"})) == {"model": "a\udcff.onnx"}


def test_a_folder_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="not a regular file"):
            load_json(path)
    with pytest.raises(IsADirectoryError):
        load_toml(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_json(tmp_path / "absent")
