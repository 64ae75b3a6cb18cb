"""Marks in a CSV: what is read, what is refused by name and line, and what a mark does to a ranking."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from catalogs.catalogue import Catalogue
from catalogs.errors import ScannerError
from catalogs.ranking import rank
from catalogs.ranking.feedback import Feedback, Mark, match_marks, read_marks
from catalogs.render import render
from tests.support import planted
from tests.support.catalogue_rows import Rows


@pytest.fixture
def lenses(catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]) -> Catalogue:
    planted.plant(catalogue, make_rows, write_tile)
    return catalogue


ECSV = """\
# %ECSV 1.0
# ---
# datatype:
# - {{name: ra, unit: {}, datatype: float64}}
# - {{name: dec, unit: deg, datatype: float64}}
# - {{name: mark, datatype: string}}
ra dec mark
10.5 -3.25 kept
"""


def read(tmp_path: Path, text: str | bytes) -> list[Mark]:
    path = tmp_path / "marks.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_marks(path)


def test_words_of_either_kind_are_marks_and_the_rest_waits(tmp_path: Path) -> None:
    words = ["kept", "Keep", "yes", "1", "rejected", "NO", "0", "", "?", "unsure"]
    result = read(tmp_path, "ra,dec,mark\n" + "".join(f"1{n},2,{word}\n" for n, word in enumerate(words)))
    assert [one.kept for one in result] == [True] * 4 + [False] * 3
    assert result[4] == Mark("marks.csv, line 6", False, 14.0, 2.0, None)


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_spreadsheets_may_have_saved_it(tmp_path: Path, separator: str) -> None:
    text = "\ufeffrank,object_id,RA,Dec,Mark\r\n1,2.17292E+11,10.5,-3,kept\r\n\r\n".replace(",", separator)
    assert read(tmp_path, text) == [Mark("marks.csv, line 2", True, 10.5, -3.0, None)]


@pytest.mark.parametrize(
    "text", ["ra;dec;mark\n10,5;-3,25;kept\n", "#Table1\nra,dec,mark\n10.5,-3.25,kept\n,,\n", ECSV.format("deg")]
)
def test_decimal_commas_comments_and_blank_rows_are_understood(tmp_path: Path, text: str) -> None:
    assert [(one.kept, one.ra, one.dec) for one in read(tmp_path, text)] == [(True, 10.5, -3.25)]


def test_an_id_is_enough(tmp_path: Path) -> None:
    assert read(tmp_path, "object_id,mark\n217292000017,no\n") == [
        Mark("marks.csv, line 2", False, None, None, 217292000017)
    ]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "feedback.unreadable", "empty"),
        (b"\x00\xff\xfe\x89PNG", "feedback.unreadable", "marks.csv"),
        ("ra,dec,mark\n1,2,kept\n1,2,kept,4\n", "feedback.unreadable", "line 3"),
        ('ra,dec,mark\n1,2,"kept\n', "feedback.unreadable", "marks.csv"),
        ("\ufeffra,dec,mark\n1,2,kept\n".encode("utf-16-le"), "feedback.unreadable", "UTF-16"),
        ("ra,dec,mark,Mark\n1,2,kept,rejected\n", "feedback.unreadable", "same name"),
        (ECSV.format("hourangle"), "feedback.unreadable", "column ra is in hourangle"),
        ("ra\tdec\tmark\nh\tdeg\t\n--\t--\t--\n14\t2\tkept\n", "feedback.unreadable", "column ra is in h"),
        ("ra,dec,verdict\n1,2,kept\n", "feedback.no_mark", "verdict"),
        ("ra,dec,mark\n1,2,kept\n1,2,lovely\n", "feedback.bad_mark", "line 3: 'lovely'"),
        ("score,mark\n1,kept\n", "feedback.no_object", "line 2"),
        ("ra,dec,mark\n1,north,kept\n", "feedback.no_object", "line 2"),
        ("object_id,mark\n2.17292E+11,kept\n", "feedback.no_object", "line 2"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, text: str | bytes, code: str, words: str) -> None:
    with pytest.raises(ScannerError) as caught:
        read(tmp_path, text)
    assert caught.value.code == code
    assert words in caught.value.message


def test_a_file_without_rows_marks_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "ra,dec,mark\n") == []


def test_marks_both_ways_and_marks_of_nothing_are_named_and_count_for_nothing(
    lenses: Catalogue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = lenses.table(["object_id", "ra", "dec"])
    lines = [f"{rows['ra'][n]},{rows['dec'][n]},{word}" for n, word in ((1, "kept"), (2, "kept"), (2, "no"), (3, "no"))]
    text = "ra,dec,mark\n" + "\n".join([*lines, "nan,30,kept", "200,-20,rejected"]) + "\n"
    with caplog.at_level(logging.WARNING):
        result = match_marks(lenses, read(tmp_path, text))
    assert result.kept.object_id.tolist() == [rows["object_id"][1]]
    assert result.rejected.object_id.tolist() == [rows["object_id"][3]]
    for words in ("both kept and rejected", "line 6", "sky.out_of_range", "line 7", "query.outside_coverage"):
        assert words in caplog.text


def test_a_ranking_comes_back_with_marks_and_changes(lenses: Catalogue, tmp_path: Path) -> None:
    """The round trip: what rank wrote, with its column filled, is what rank reads."""
    like = planted.matched(lenses, planted.is_lens, 1)
    first = rank.rank(lenses, like, k=40)
    assert set(first["mark"]) == {""}
    first["mark"] = ["kept" if one else "rejected" for one in planted.is_lens(first["object_id"])]
    path = tmp_path / "round1.csv"
    path.write_text(str(render(first, "csv")))
    feedback = match_marks(lenses, read_marks(path))
    again = rank.rank(lenses, like, None, feedback, k=40)
    assert planted.is_lens(again["object_id"]).sum() >= planted.is_lens(first["object_id"]).sum()
    marks = dict(zip(first["object_id"].tolist(), first["mark"].tolist(), strict=True))
    assert all(row["mark"] == marks.get(int(row["object_id"]), "") for row in again)
    fresh = rank.rank(lenses, like, None, feedback, k=40, next="best")
    assert not set(fresh["object_id"].tolist()) & set(first["object_id"].tolist())


@pytest.mark.parametrize("method", ["centroid", "nearest", "probe"])
def test_a_rejected_kind_sinks_by_every_method(lenses: Catalogue, method: str) -> None:
    like = planted.matched(lenses, planted.is_lens, 3)
    before = rank.rank(lenses, like, method=method, k=800)
    sunk = before["object_id"][[not one for one in before["known"]]][0]
    table = lenses.table(["object_id", "ra", "dec"], where=f"object_id == {sunk}")
    mark = Mark("x", False, float(table["ra"][0]), float(table["dec"][0]), None)
    after = rank.rank(lenses, like, None, match_marks(lenses, [mark]), method=method, k=800)
    place = {int(row["object_id"]): int(row["rank"]) for row in after}
    assert place[int(sunk)] > int(before["rank"][before["object_id"] == sunk][0])


def test_a_mark_counts_more_than_the_lists(lenses: Catalogue) -> None:
    like, unlike = (
        planted.matched(lenses, planted.is_lens, 3),
        planted.matched(lenses, lambda i: ~planted.is_lens(i), 3),
    )
    mistaken = Mark("a", False, float(like.ra[0]), float(like.dec[0]), None)
    overlooked = Mark("b", True, float(unlike.ra[0]), float(unlike.dec[0]), None)
    feedback = match_marks(lenses, [mistaken, overlooked])
    result = rank.rank(lenses, like, unlike, feedback, k=800, method="nearest")
    known = set(result["object_id"][result["known"]].tolist())
    assert int(like.object_id[0]) not in known
    assert int(unlike.object_id[0]) in known
    similarity = dict(zip(result["object_id"].tolist(), result["similarity"].tolist(), strict=True))
    assert similarity[int(like.object_id[0])] < 1 - 1e-4
    assert similarity[int(unlike.object_id[0])] == pytest.approx(1, abs=1e-4)


def test_rejecting_every_example_leaves_nothing_to_rank_by(lenses: Catalogue) -> None:
    like = planted.matched(lenses, planted.is_lens, 1)
    feedback = match_marks(lenses, [Mark("a", False, float(like.ra[0]), float(like.dec[0]), None)])
    with pytest.raises(ScannerError) as caught:
        rank.rank(lenses, like, None, feedback)
    assert caught.value.code == "rank.no_example"


def test_marks_say_what_they_are_of(lenses: Catalogue) -> None:
    like = planted.matched(lenses, planted.is_lens, 2)
    feedback = Feedback(like[np.array([0])], like[np.array([1])])
    assert feedback.words([*like.ra, 200.0], [*like.dec, 0.0]).tolist() == ["kept", "rejected", ""]
