"""Rounds from everything that a hunt begins from, re-ranked as ``rank`` ranks, and a project that travels alone."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from fastapi.testclient import TestClient

import catalogs
from catalogs import lenses as literature
from catalogs.errors import ErrorCode, ScannerError
from catalogs.index.build import IndexOptions, build_index
from catalogs.ranking import rank
from catalogs.ranking.feedback import match_marks, read_marks
from scanner.hunt.project import Project
from scanner.hunt.verdicts import VerdictRecord
from scanner.web.app import make_app
from scanner.web.hunter import Hunter
from scanner.web.site import Site
from tests.support import planted, team_project
from tests.support.catalogue_rows import SCORED_RUN, make, write
from tests.support.demo_site import TOKEN

HEADERS = {"authorization": f"Bearer {TOKEN}"}
CONTRACT = {**SCORED_RUN.contract, "bands": ["u", "g", "r"], "pixel_scale": 0.18577}


def opened(site: Site, project: Path) -> TestClient:
    hunter = Hunter(site, project, "me")
    return TestClient(make_app(site, hunter, TOKEN), "http://localhost", headers=HEADERS)


def scored(folder: Path, model: str = "a" * 64, shift: int = 0) -> catalogs.catalogue.Catalogue:
    """Four indexed tiles of 200 objects with lens scores, every twentieth a lens; ``shift`` gives them other ids."""
    run = replace(SCORED_RUN, contract=CONTRACT, model_sha256=model)
    filled = catalogs.create(folder, run)

    def tile(catalogue: catalogs.catalogue.Catalogue, name: str, rows: dict[str, np.ndarray]) -> None:
        order = np.roll(np.arange(len(rows["ra"])), shift)
        moved = {key: value[order] for key, value in rows.items()} | {"object_id": rows["object_id"]}
        scores = np.where(planted.is_lens(rows["object_id"]), 2.0, -8.0) + np.linspace(0, 1, len(order))
        write(catalogue, name, {**moved, "score_lens": scores[order].astype(np.float32)}, run)

    planted.plant(filled, make, tile)
    build_index(filled, IndexOptions(trees=2))
    return filled


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> catalogs.catalogue.Catalogue:
    return scored(tmp_path_factory.mktemp("scored") / "embeddings")


@pytest.fixture
def client(filled: catalogs.catalogue.Catalogue, tmp_path: Path) -> Iterator[TestClient]:
    like = tmp_path / "mine.csv"
    table = filled.table(["object_id", "ra", "dec"])
    some = table[planted.is_lens(table["object_id"])][:6]
    like.write_text("ra,dec\n" + "".join(f"{row['ra']},{row['dec']}\n" for row in some), encoding="utf-8")
    with opened(Site(filled, like=like), tmp_path / "hunt") as made:
        yield made


def ids_of(client: TestClient, number: int) -> list[int]:
    shown = client.get(f"/hunt/{number}/mosaic?seed=0&size=200").json()
    return [int(one["row"]["object_id"]) for one in shown["objects"]]


def made(answer: object) -> int:
    assert answer.status_code == 201, answer.text  # type: ignore[attr-defined]
    return int(answer.json()["round"])  # type: ignore[attr-defined]


def test_a_round_begins_from_the_lens_score(client: TestClient, filled: catalogs.catalogue.Catalogue) -> None:
    number = made(client.post("/hunt/rounds", json={"by": "score", "count": 30, "question": {"where": "snr > 3"}}))
    table = rank.rank(filled, method="score", k=100, where="snr > 3", known=literature.known(), hide_known=True)
    mine = np.isin(table["object_id"], client.app.state.site.lenses().object_id)  # type: ignore[attr-defined]
    assert ids_of(client, number) == table["object_id"][~mine][:30].tolist()
    # With known lenses, those of the user are back.
    again = made(client.post("/hunt/rounds", json={"by": "score", "count": 40, "with_known": True}))
    assert set(ids_of(client, again)) >= set(client.app.state.site.lenses().object_id.tolist())  # type: ignore[attr-defined]
    hidden = client.get(f"/hunt/{number}/mosaic").json()["objects"][0]["row"]
    assert not {"score", "score_lens", "probability", "rank"} & set(hidden)


def test_a_round_begins_from_the_known_lenses(client: TestClient, filled: catalogs.catalogue.Catalogue) -> None:
    number = made(client.post("/hunt/rounds", json={"by": "lenses", "count": 34}))
    like = client.app.state.site.lenses()  # type: ignore[attr-defined]
    table = rank.rank(filled, like, k=34, hide_known=True)
    assert ids_of(client, number) == table["object_id"].tolist()
    assert planted.is_lens(np.array(ids_of(client, number))).sum() == 34
    assert client.get("/hunt").json()["rounds"][0]["title"] == "Like 6 known lenses"


def test_a_round_begins_from_a_ranked_list(client: TestClient, filled: catalogs.catalogue.Catalogue) -> None:
    table = rank.rank(filled, method="score", k=12)
    lines = [f"{row['ra']:.8f};{row['dec']:.8f};{row['score']}" for row in table] + ["200.0;-20.0;9"]
    file = ("my <b>list</b>.csv", "ra;dec;<script>alert(1)</script>\n" + "\n".join(lines), "text/csv")
    answer = client.post("/hunt/lists", files={"file": file}, data={"title": "<script>alert(2)</script>"})
    assert answer.json()["missing"] == 1
    assert ids_of(client, made(answer)) == table["object_id"].tolist()
    page = client.get("/hunt", headers={"accept": "text/html"}).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(2)" in page
    for name, content in (("x.exe", b"MZ"), ("x.csv", b"a,b\n1,2\n"), ("x.fits", b"SIMPLE  = T"), ("x.csv", b"")):
        refused = client.post("/hunt/lists", files={"file": (name, content)})
        assert refused.status_code == 400
        assert refused.json()["message"]


def judge(client: TestClient, number: int) -> None:
    """Call planted lenses candidates, and the others nothing."""
    numbers = client.get(f"/hunt/{number}/mosaic?seed=0&size=200").json()["objects"]
    said = [
        {"number": one["number"], "grade": "candidate" if planted.is_lens(int(one["row"]["object_id"])) else "no"}
        for one in numbers
    ]
    answer = client.post(f"/hunt/{number}/verdicts", json={"batch": "batch-one", "verdicts": said, "view": "mosaic"})
    assert answer.status_code == 201


def test_a_re_rank_lists_what_rank_lists(
    client: TestClient, filled: catalogs.catalogue.Catalogue, tmp_path: Path
) -> None:
    judge(client, made(client.post("/hunt/rounds", json={"question": {"seed": 3}, "count": 120})))
    (tmp_path / "marks.csv").write_bytes(client.get("/hunt/verdicts").content)
    marks = match_marks(filled, read_marks(tmp_path / "marks.csv"))
    assert len(marks.kept) >= 5
    known = client.app.state.site.known_lenses()  # type: ignore[attr-defined]
    best = rank.rank(filled, None, None, marks, k=25, next="best", known=known)
    again = made(client.post("/hunt/rerank", json={"count": 25}))
    assert ids_of(client, again) == best["object_id"].tolist()

    mixed = made(client.post("/hunt/rerank", json={"count": 25, "uncertain": 10}))
    uncertain = rank.rank(filled, None, None, marks, k=10, next="uncertain", known=known)
    assert set(ids_of(client, mixed)) == set(best["object_id"][:15].tolist()) | set(uncertain["object_id"].tolist())
    # Once more, from what is kept of the first time.
    assert ids_of(client, made(client.post("/hunt/rerank", json={"count": 25}))) == best["object_id"].tolist()


def test_verdicts_outlive_another_model_and_a_new_scan(
    client: TestClient, tmp_path: Path, filled: catalogs.catalogue.Catalogue
) -> None:
    judge(client, made(client.post("/hunt/rounds", json={"question": {"seed": 3}, "count": 120})))
    assert client.get("/hunt").json()["notices"] == []
    kept = {(row["ra"], row["dec"]) for row in client.app.state.hunter.project.verdict_table() if row["mark"] == "kept"}  # type: ignore[attr-defined]
    for name, model, words in (("other", "b" * 64, "another model"), ("rescanned", "a" * 64, "scanned again")):
        other = scored(tmp_path / name, model, shift=1)
        with opened(Site(other), tmp_path / "hunt") as again:
            (notice,) = again.get("/hunt").json()["notices"]
            assert notice.startswith("120 verdicts")
            assert words in notice
            assert notice in again.get("/hunt", headers={"accept": "text/html"}).text
            number = made(again.post("/hunt/rounds", json={"question": {"sort": "ra"}, "count": 800}))
            objects = [
                one
                for page in range(1, 5)
                for one in again.get(f"/hunt/{number}/mosaic?seed=0&size=200&page={page}").json()["objects"]
            ]
            candidates = {(one["row"]["ra"], one["row"]["dec"]) for one in objects if one["triage"] == "candidate"}
            assert candidates == kept
            assert sum(bool(one["triage"]) for one in objects) == 120
            # They rank the new catalogue as well.
            assert len(ids_of(again, made(again.post("/hunt/rerank", json={"count": 20})))) == 20


def test_a_copy_needs_neither_catalogue_nor_tiles(client: TestClient, tmp_path: Path) -> None:
    number = made(client.post("/hunt/rounds", json={"question": {"sort": "-snr"}, "count": 5}))
    one = client.app.state.hunter.project.round(number)  # type: ignore[attr-defined]

    def pixels(tile: str, ra: float, dec: float) -> tuple[np.ndarray, bytes]:
        return np.full((3, 64, 64), 1e5 * ra, np.float32), b"picture"

    assert list(one.cut(pixels)) == [5]
    shutil.copytree(tmp_path / "hunt", tmp_path / "laptop")
    expected = {path: client.get(path) for path in (f"/hunt/{number}/mosaic?seed=0", f"/hunt/{number}/windows?seed=0")}
    shutil.rmtree(tmp_path / "hunt")
    with opened(Site(None), tmp_path / "laptop") as alone:
        for path, answer in expected.items():
            assert alone.get(path).content == answer.content
        assert alone.get(f"/hunt/{number}/windows?seed=0").headers["scanner-bands"] == "u,g,r"
        assert alone.get(f"/hunt/{number}/wide/3").content == b"picture"
        row = alone.get(f"/hunt/{number}/one").json()["objects"][0]["row"]
        assert {"mag_auto", "flux_r", "snr", "flags", "known_as"} <= set(row)
        said = {"batch": "on-the-way", "view": "one", "verdicts": [{"number": 3, "grade": "A"}]}
        assert alone.post(f"/hunt/{number}/verdicts", json=said).status_code == 201
        assert b"A" in alone.get("/hunt/verdicts").content
        # What needs the catalogue says so.
        for path, body in (("/hunt/rerank", {}), ("/hunt/rounds", {"by": "score"}), ("/hunt/rounds", {})):
            assert alone.post(path, json=body).json()["code"] == "catalogue.missing"


@pytest.mark.parametrize(
    "body", [{"by": "magic"}, {"count": 0}, {"by": "lenses", "question": {"where": "__import__('os')"}}]
)
def test_a_bad_round_is_refused(client: TestClient, body: dict[str, object]) -> None:
    assert client.post("/hunt/rounds", json=body).status_code in (400, 422)
    assert client.get("/hunt").json()["rounds"] == []


def test_known_lenses_elsewhere_are_no_examples(filled: catalogs.catalogue.Catalogue, tmp_path: Path) -> None:
    (tmp_path / "far.csv").write_text("ra,dec\n200,-20\n", encoding="utf-8")
    with opened(Site(filled, like=tmp_path / "far.csv"), tmp_path / "hunt") as other:
        assert other.post("/hunt/rounds", json={"by": "lenses"}).json()["code"] == "rank.no_example"


def test_what_the_server_cannot_do_now_is_not_the_fault_of_the_request(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page keeps verdicts after 503, and drops those that are refused for good."""
    number = made(client.post("/hunt/rounds", json={"question": {"sort": "-snr"}, "count": 5}))
    said = {"batch": "on-the-full-disk", "view": "one", "verdicts": [{"number": 3, "grade": "A"}]}
    full = ScannerError(ErrorCode.HUNT_NOT_SAVED, "The disk is full.", "Make room.")
    with monkeypatch.context() as patch:
        patch.setattr(VerdictRecord, "add", Mock(side_effect=full))
        answer = client.post(f"/hunt/{number}/verdicts", json=said)
        assert (answer.status_code, answer.json()["code"]) == (503, "hunt.not_saved")
    assert client.post(f"/hunt/{number}/verdicts", json=said).status_code == 201
    wrong = {**said, "batch": "with-no-such-grade", "verdicts": [{"number": 3, "grade": "Z"}]}
    assert client.post(f"/hunt/{number}/verdicts", json=wrong).status_code == 400


def test_a_browser_takes_no_pixels_of_one_server_for_those_of_the_next(tmp_path: Path) -> None:
    tags = []
    for name, level in (("one", 1.0), ("next", 2.0)):
        project = Project.create(tmp_path / name)
        one = project.add_round(team_project.table(3), "list", "list", team_project.INFO)
        address = "/hunt/1/windows?seed=0"
        with opened(Site(None), project.folder) as client:
            # What is not cut yet may change, and is not kept.
            assert client.get(address).headers["cache-control"] == "no-store"
            side, bands = one.record.window, len(one.record.bands)
            list(one.cut(lambda *_: (np.full((bands, side, side), level, np.float32), b"picture")))  # noqa: B023
            answer = client.get(address)
            assert answer.headers["cache-control"] == "private, no-cache"
            tags.append(answer.headers["etag"])
            again = client.get(address, headers={"if-none-match": tags[-1]})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tags[-1])
            older = client.get(address, headers={"if-none-match": tags[0]})
            assert (older.status_code == 304) == (name == "one")
            assert client.get("/hunt/1/wide/0").headers["etag"] == tags[-1]
            # Nobody reads anything without the token, and what changes has no tag.
            stranger = client.get(address, headers={"if-none-match": tags[-1], "authorization": "Bearer no"})
            assert stranger.status_code in (401, 403)
            assert client.get("/hunt").headers.get("etag") != tags[-1]
    assert tags[0] != tags[1]


def test_a_round_that_is_added_as_the_cutter_ends_is_cut(client: TestClient) -> None:
    hunter = client.app.state.hunter  # type: ignore[attr-defined]
    made(client.post("/hunt/rounds", json={"question": {"sort": "-snr"}, "count": 5}))
    hunter._thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    hunter._thread.start()
    # The cutter looks for the last time: whoever adds a round from now on starts another one.
    assert hunter._next_round({1}) is None
    assert hunter._thread is None
