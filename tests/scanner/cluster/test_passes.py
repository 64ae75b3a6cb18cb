"""Passes on Dask workers give the bytes of one process, whatever exits on the way: real processes, really killed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

from astropy.table import Table
from distributed import Client, LocalCluster

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.completeness.injected import Injected
from catalogs.errors import ScannerError
from catalogs.maps import projections
from catalogs.maps.build import build_map
from catalogs.maps.read import MapSettings
from catalogs.ranking.evaluation import EvaluationSettings, evaluate
from catalogs.ranking.outliers import outliers
from catalogs.ranking.rank import rank
from catalogs.search import full_pass
from catalogs.search.matching import match
from catalogs.search.tile_pass import Executor
from catalogs.store import rows
from scanner.cluster import deploy, pass_worker
from scanner.cluster.job import WorkerSource
from scanner.cluster.pass_worker import PassJob, PassWorker
from scanner.cluster.passes import DaskExecutor
from scanner.queries.completeness_report import measure_completeness
from tests.support import blas, catalogue_rows
from tests.support.catalogue_rows import DIM, SCORED_RUN
from tests.support.damage import damage_column
from tests.support.dask_workers import two_workers
from tests.support.deadly import DeadlyGroup

TILES = [f"{100 + number}.280" for number in range(14)]
ROWS = 120

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes"),
]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of the workers."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def workers(elsewhere: Path) -> Iterator[LocalCluster]:
    before = Path.cwd()
    os.chdir(elsewhere)
    try:
        with two_workers(deploy.SETTINGS) as started:
            yield started
    finally:
        os.chdir(before)


@pytest.fixture
def executor(workers: LocalCluster) -> Iterator[DaskExecutor]:
    with DaskExecutor(WorkerSource(address=workers.scheduler_address)) as made:
        yield made


def fill(folder: Path) -> Catalogue:
    """Fourteen tiles of objects with a lens score, some of which have none, or no direction; scores are often equal."""
    filled = catalogs.create(folder, SCORED_RUN)
    rng = np.random.default_rng(3)
    for number, tile in enumerate(TILES):
        ra, dec = 50 + number + rng.uniform(0, 0.4, ROWS), 60 + rng.uniform(0, 0.4, ROWS)
        embedding = rng.normal(size=(ROWS, DIM))
        embedding[::9] = embedding[0]
        score = np.where(rng.random(ROWS) < 0.2, np.nan, np.round(rng.normal(size=ROWS), 1)).astype(np.float32)
        rows = catalogue_rows.make(100 + number, ra, dec, embedding, score_lens=score)
        rows["embedding"][5], rows["embedding"][6] = np.nan, 0
        catalogue_rows.write(filled, tile, rows, SCORED_RUN)
    return filled


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return fill(tmp_path_factory.mktemp("filled") / "embeddings")


def like(catalogue: Catalogue, count: int) -> Any:
    table = catalogue.table(["ra", "dec"])[10 :: 1 + len(TILES) * ROWS // count]
    return match(catalogue.snapshot(), table["ra"].tolist(), table["dec"].tolist())


def lenses(catalogue: Catalogue) -> Injected:
    table = catalogue.table(["tile", "ra", "dec"])[20::97]
    names, ra, dec = (np.array(table[name]) for name in ("tile", "ra", "dec"))
    return Injected(names, ra, dec, {"theta_e": np.ones(len(ra))})


def content(table: Table) -> dict[str, Any]:
    """Every column of a table, to the bit."""
    values = {name: np.asarray(table[name]) for name in table.colnames}
    return {n: v.tolist() if v.dtype.kind == "O" else (v.dtype.str, v.tobytes()) for n, v in values.items()}


def ranked(**settings: Any) -> Callable[[Catalogue, Executor | None], Any]:
    return lambda filled, executor: content(rank(filled, like(filled, 12), executor=executor, k=40, **settings))


def evaluated(filled: Catalogue, executor: Executor | None) -> Any:
    settings = EvaluationSettings(examples=4, draws=3, where="snr > 4")
    found = evaluate(filled, like(filled, 14), settings, executor=executor)
    return {name: [draw.tolist() for draw in draws] for name, draws in found.above.items()}, found.objects


def completed(filled: Catalogue, executor: Executor | None) -> Any:
    by_score = measure_completeness(filled.snapshot(), lenses(filled), method="score", executor=executor)
    by_column = measure_completeness(filled.snapshot(), lenses(filled), column="snr", executor=executor)
    return [
        (one.search.score.tobytes(), one.search.others.tobytes(), one.search.objects, one.search.detected.tolist())
        for one in (by_score, by_column)
    ]


@pytest.mark.parametrize(
    "ask",
    [
        ranked(method="centroid"),
        ranked(method="nearest", where="mag_r < 20"),
        ranked(method="probe", next="uncertain"),
        ranked(method="fused", next="explore"),
        ranked(method="score"),
        lambda filled, executor: content(outliers(filled, k=30, executor=executor)),
        lambda filled, executor: content(outliers(filled, method="knn", k=30, sample=500, executor=executor)),
        evaluated,
        completed,
    ],
    ids=["centroid", "nearest", "probe", "fused", "score", "mahalanobis", "knn", "evaluate", "injected"],
)
def test_a_pass_on_workers_gives_the_bytes_of_one_process(
    catalogue: Catalogue, executor: DaskExecutor, ask: Callable[[Catalogue, Executor | None], Any]
) -> None:
    assert ask(catalogue, executor) == ask(catalogue, None)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_that_workers_place_has_the_bytes_of_one_process(
    tmp_path: Path, executor: DaskExecutor, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The fit is made here, and is not what this is about."""
    filled = fill(tmp_path / "embeddings")
    monkeypatch.setattr(projections, "_tsne", lambda _, leading, seed: leading[:, :2] ** 3)
    settings = MapSettings(method, sample=200)
    reports, files = [], []
    for runs_it in (None, executor):
        reports.append(build_map(filled, settings, executor=runs_it))
        tiles = filled.path / "maps" / method / "tiles"
        files.append({path.name: path.read_bytes() for path in tiles.glob("*")})
        shutil.rmtree(tiles)
    assert reports[0] == reports[1]
    assert reports[0].placed == len(TILES)
    assert files[0] == files[1]
    # A tile that comes later is placed alone.
    build_map(filled, settings)
    catalogue_rows.write(filled, "150.280", catalogue_rows.make(150, [90.0], [60.0], score_lens=[1.0]), SCORED_RUN)
    assert build_map(filled, settings, executor=executor).placed == 1


def test_a_killed_worker_loses_nothing(
    catalogue: Catalogue,
    workers: LocalCluster,
    executor: DaskExecutor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mark = tmp_path / "killed"
    with Client(workers, set_as_default=False) as client:
        client.register_plugin(DeadlyGroup(TILES[3], mark), name="deadly")
        try:
            found = ranked(method="nearest")(catalogue, executor)
        finally:
            client.unregister_worker_plugin("deadly")
    assert mark.exists()
    assert "they are read again" in caplog.text
    assert found == ranked(method="nearest")(catalogue, None)


def test_tiles_that_kill_every_worker_end_the_command(
    catalogue: Catalogue, workers: LocalCluster, executor: DaskExecutor, tmp_path: Path
) -> None:
    with Client(workers, set_as_default=False) as client:
        client.register_plugin(DeadlyGroup(TILES[0], tmp_path / "killed", always=True), name="deadly")
        try:
            with pytest.raises(ScannerError, match="exited 3 times") as caught:
                outliers(catalogue, executor=executor)
        finally:
            client.unregister_worker_plugin("deadly")
    assert caught.value.code == "cluster.task_failed"


@pytest.fixture
def seen_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """A catalogue whose path leads elsewhere in the workers."""
    if not Path("/proc/self/cwd").exists():
        pytest.skip("needs a path that means something else in another process")
    fill(tmp_path / "embeddings")
    monkeypatch.chdir(tmp_path)
    return catalogs.open("/proc/self/cwd/embeddings")


def test_a_worker_that_does_not_see_the_catalogue_is_named(seen_from_here: Catalogue, executor: DaskExecutor) -> None:
    with pytest.raises(ScannerError, match=r"Worker tcp://.* sees other files: There is no catalogue") as caught:
        outliers(seen_from_here, executor=executor)
    assert caught.value.code == "cluster.other_files"


def test_a_worker_that_sees_another_catalogue_or_another_tile_is_named(
    seen_from_here: Catalogue, executor: DaskExecutor, elsewhere: Path, tmp_path: Path
) -> None:
    copy = elsewhere / "embeddings"
    try:
        shutil.copytree(tmp_path / "embeddings", copy)  # with the times of the files
        assert content(outliers(seen_from_here, executor=executor)) == content(outliers(seen_from_here))
        os.utime(copy / "tiles" / f"{TILES[4]}.parquet")
        with pytest.raises(ScannerError, match=f"could not read tile {TILES[4]}, which this machine can") as caught:
            outliers(seen_from_here, executor=executor)
        assert caught.value.code == "cluster.other_files"
        description = copy / "catalogue.json"
        description.write_text(description.read_text().replace("a" * 64, "b" * 64))
        with pytest.raises(ScannerError, match="has another catalogue at") as caught:
            outliers(seen_from_here, executor=executor)
        assert caught.value.code == "cluster.other_files"
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def test_a_tile_that_is_damaged_or_replaced_for_all_is_treated_as_in_one_process(
    tmp_path: Path, executor: DaskExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    filled = fill(tmp_path / "embeddings")
    damage_column(filled.tile_path(TILES[2]), "embedding")
    os.utime(filled.tile_path(TILES[2]), ns=(1, 1))
    snapshot = filled.snapshot()
    catalogue_rows.write(filled, TILES[6], catalogue_rows.make(106, [56.1], [60.1], score_lens=[99.0]), SCORED_RUN)
    one_process = rank(filled, method="score", k=50, snapshot=snapshot)
    caplog.clear()
    by_workers = rank(filled, method="score", k=50, snapshot=snapshot, executor=executor)
    assert content(by_workers) == content(one_process)
    assert int(by_workers["object_id"][0]) == 106_000_000
    assert f"Skipped: {filled.tile_path(TILES[2])}" in caplog.text


def test_a_worker_with_other_software_is_named(catalogue: Catalogue) -> None:
    snapshot = catalogue.snapshot()
    job = PassJob(catalogue.path, catalogue.info, snapshot.footers, snapshot.owners, None, software="other 0.1")
    station = PassWorker(job)
    station.setup(None)
    with pytest.raises(ScannerError, match=r"Worker tcp://1 has .*, the command was started with other 0\.1") as caught:
        station.read(range(1), "tcp://1")
    station.teardown(None)
    assert caught.value.code == "cluster.other_software"


@pytest.mark.skipif(not blas.threads(), reason="this BLAS has no number of threads")
def test_workers_compute_on_one_core_while_they_read(catalogue: Catalogue, workers: LocalCluster) -> None:
    selection = rows.selection(catalogue, None, None)
    address = workers.scheduler_address
    with Client(address) as client, DaskExecutor(WorkerSource(address=address)) as executor:
        before = client.run(blas.set_threads, 3)
        seen = full_pass.over(catalogue.snapshot(), selection, blas.most_threads, join=max, executor=executor)
        assert set(seen) == {1}
        # They have the threads back when the pass is over.
        assert set(client.run(blas.set_threads, min(before.values())).values()) == {3}


def test_other_rounding_is_said_once(
    catalogue: Catalogue, executor: DaskExecutor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pass_worker, "rounding", lambda: "of another processor")
    outliers(catalogue, executor=executor)
    assert caplog.text.count("rounds products otherwise") == 1


def test_workers_are_not_started_for_nothing(tmp_path: Path) -> None:
    empty = catalogs.create(tmp_path, SCORED_RUN)
    with DaskExecutor(WorkerSource(address="tcp://127.0.0.1:1")) as executor:
        assert len(rank(empty, method="score", executor=executor)) == 0
        with pytest.raises(ScannerError) as caught:
            outliers(empty, executor=executor)
    assert caught.value.code == "outliers.few_objects"
