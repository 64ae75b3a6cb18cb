"""``scanner index`` and the restrictions of ``scanner query``, as they are typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import catalogs
from tests.end_to_end.conftest import Scanner


@pytest.fixture
def copied(catalogue: Path, tmp_path: Path) -> Path:
    """A copy of the small catalogue that may be changed."""
    return Path(shutil.copytree(catalogue, tmp_path / "embeddings"))


def test_verify_prints_recall_and_latency(scanner: Scanner, copied: Path) -> None:
    done = scanner("index", "--catalog", copied, "--verify")
    assert done.code == 0, done.err
    for word in ("recall@10", "recall@100", "ms by the index", "by default  exactly"):
        assert word in done.out
    told = json.loads(scanner("index", "--catalog", copied, "--verify", "-f", "json").out)
    assert told["kept"] == ["shard-00000"]
    assert told["verified"]["recall_at_10"]["value"] > 0.9


def test_a_recall_can_be_asked_for(scanner: Scanner, copied: Path) -> None:
    done = scanner("index", "--catalog", copied, "--target-recall", "0.9", "--index-dims", "8", "-f", "json")
    assert done.code == 0, done.err
    recipe = json.loads(done.out)["recipe"]
    assert recipe["dims"] == 8
    assert "recall@10" in done.err
    sidecar = json.loads((copied / "index" / "shard-00000.json").read_text())
    assert sidecar["recipe"] == recipe


def test_a_damaged_shard_is_named_and_mended_by_one_command(scanner: Scanner, copied: Path) -> None:
    path = next((copied / "index").glob("*.f16"))
    path.write_bytes(path.read_bytes()[:-8])
    one = int(catalogs.open(copied).table(["object_id"])["object_id"][0])
    asked = scanner("query", "--id", one, "--catalog", copied, "-f", "json")
    assert asked.code == 0
    assert path.name in asked.err
    assert "scanner index" in asked.err
    assert json.loads(scanner("index", "--catalog", copied, "-f", "json").out)["built"] == ["shard-00000"]
    again = scanner("query", "--id", one, "--catalog", copied, "-f", "json")
    assert again.out == asked.out
    assert path.name not in again.err
    assert json.loads(scanner("index", "--catalog", copied, "--verify", "-f", "json").out)["built"] == []


def test_a_query_can_be_kept_to_a_region(scanner: Scanner, catalogue: Path) -> None:
    table = catalogs.open(catalogue).table(["object_id", "ra", "dec"])
    one = table[0]
    near = f"{one['ra']},{one['dec']},25"
    done = scanner("query", "--id", one["object_id"], "--catalog", catalogue, "--near", near, "-k", 500, "-f", "json")
    assert done.code == 0, done.err
    inside = set(catalogs.open(catalogue).cone(one["ra"], one["dec"], 25)["object_id"])
    found = {row["object_id"] for row in json.loads(done.out)}
    assert found <= inside
    assert 0 < len(found) < len(table) - 1


@pytest.mark.parametrize("near", ["210.0,54.3", "210.0,54.3,-1", "210.0,54.3,nan", "800,0,10", "a,b,c"])
def test_a_region_that_is_none_is_a_bad_command_line(scanner: Scanner, catalogue: Path, near: str) -> None:
    done = scanner("query", "--id", 1, "--catalog", catalogue, "--near", near)
    assert done.code == 2
    assert "--near" in done.err
