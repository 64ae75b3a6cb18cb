"""The guide to the page, walked as one person would: each command of it, on the demo, to candidates that are graded."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from scanner.cli.demo import DEMO
from tests.docs.pages import REPOSITORY, blocks, commands
from tests.support import demo_site
from tests.support.served import PROGRAM, serve

PAGE = REPOSITORY / "docs" / "guide" / "inspect.md"
LINES = [line for block in blocks(PAGE) if block.language == "sh" for line in commands(block.text)]
ENVIRONMENT = {**os.environ, "SCANNER_TOKEN": demo_site.TOKEN, "OMP_NUM_THREADS": "1"}


def ask(url: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    """GET, or POST where there is a body; the answer is JSON."""
    sent = headers or {"Authorization": f"Bearer {ENVIRONMENT['SCANNER_TOKEN']}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), sent)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def curl(words: list[str], address: str) -> Any:
    """Ask what a line of curl asks, of the server at this address."""
    assert words[:2] == ["curl", "-H"]
    name, value = words[2].split(": ")
    url = urlsplit(words[3])
    assert url.netloc == "localhost:8431"
    return ask(f"{address}{url.path}?{url.query}", headers={name: os.path.expandvars(value)})


def grade(address: str) -> tuple[int, int]:
    """Grade the first twelve objects as a person who knows the lenses would; gives the numbers of lenses and others."""
    lenses = np.array(demo_site.lenses())
    said = []
    for one in ask(f"{address}/hunt/1/one")["objects"][:12]:
        # Some three arcsec.
        is_lens = (np.abs(lenses - [one["row"]["ra"], one["row"]["dec"]]).max(axis=1) < 1e-3).any()
        said.append({"number": one["number"], "grade": "A" if is_lens else "X"})
    ask(f"{address}/hunt/1/verdicts", {"batch": "one-by-one", "verdicts": said, "view": "one"})
    kept = sum(one["grade"] == "A" for one in said)
    return kept, len(said) - kept


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_command_from_a_catalogue_to_graded_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANNER_TOKEN", ENVIRONMENT["SCANNER_TOKEN"])
    lines = [shlex.split(line, comments=True) for line in LINES]
    # The demo is a small part of a survey, and a few of its objects make a round.
    of_demo = {"/data/unions": str(DEMO), "1000": "20", "500": "20"}
    lines = [[of_demo.get(word, word) for word in words] for words in lines if words]
    assert [words[:2] for words in lines[:3]] == [["pip", "install"], ["scanner", "demo"], ["scanner", "serve"]]
    assert lines[-1] == ["scanner", "serve", "--project", "hunt"]
    with serve(lines[1][1:], tmp_path, ENVIRONMENT) as address:
        assert ask(f"{address}/search?limit=3")["rows"]
    # What the guide calls by the names of a person's own files is that of the demo.
    shutil.copytree(tmp_path / "demo" / "embeddings", tmp_path / "embeddings")
    shutil.copy(tmp_path / "demo" / "lenses.csv", tmp_path)
    shutil.copytree(DEMO, tmp_path / "tiles")

    with serve(lines[2][1:], tmp_path, ENVIRONMENT) as address:
        counts: tuple[int, int] | None = None
        for words in lines[3:-1]:
            if words[0] == "curl":
                assert len(curl(words, address)["rows"]) == 20
                continue
            assert words[0] == "scanner"
            if words[1] == "verdicts":
                counts = grade(address)
            subprocess.run([*PROGRAM, *words[1:]], check=True, cwd=tmp_path, env=ENVIRONMENT)
    assert counts is not None
    marks = [row["mark"] for row in read(tmp_path / "verdicts.csv")]
    assert (marks.count("kept"), marks.count("rejected")) == counts
    assert min(counts) > 0
    judged = {row["object_id"] for row in read(tmp_path / "verdicts.csv")}
    assert not judged & {row["object_id"] for row in read(tmp_path / "next.csv")}

    # The copy of the project stands alone.
    (tmp_path / "laptop").mkdir()
    shutil.copytree(tmp_path / "hunt", tmp_path / "laptop" / "hunt")
    with serve(lines[-1][1:], tmp_path / "laptop", ENVIRONMENT) as address:
        rounds = ask(f"{address}/hunt")["rounds"]
        # The newest round is of what nobody judged. Verdicts count by position, in the rounds between too.
        graded = [one["graded"] for one in rounds]
        assert (len(graded), graded[0], graded[-1]) == (4, 0, sum(counts))
        assert all(one["cut"] == one["objects"] for one in rounds)
