"""The measures of an evaluation against cases worked out by hand, and its fair comparison."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from catalogs.errors import ScannerError
from catalogs.estimate import DRAWS, PairedEstimate, average, difference, draw_counts, estimate_paired_mean
from catalogs.ranking import measures
from catalogs.store.vectors import unit
from training.cutouts.shards import Shard, make_table, write_manifest, write_shard
from training.evaluate.embeddings import Embeddings, ShortEmbeddings
from training.evaluate.models import Flux, TurnAverage, Vectors
from training.evaluate.sets import Sets
from training.evaluate.sets.lenses import LabelledWindows, LookAlikes, central, magnitudes, matched
from training.evaluate.sets.painted import load_painted
from training.evaluate.sets.pictures import Questions
from training.evaluate.statistics import metrics
from training.evaluate.statistics.estimates import estimate_auc, estimate_r2
from training.evaluate.tasks import TASKS
from training.evaluate.tasks.lenses import changed, changes, is_own_nearest, subsets
from training.evaluate.tasks.pictures import galaxy, galaxy_zoo
from training.evaluate.tasks.scores import fused, lens_score, lookalikes
from training.evaluate.tasks.simulated import some_bands


def hits(text: str) -> np.ndarray:
    return np.array([letter == "L" for letter in text])


def windows(lenses: int, magnitude: list[float]) -> LabelledWindows:
    count = len(magnitude)
    flux = np.random.default_rng(0).normal(size=(count, 5, 8, 8)).astype(np.float32)
    flux[:, [0, 4]] = np.nan
    trained = np.arange(count) == count - 1
    return LabelledWindows(flux, np.arange(count) < lenses, np.array(magnitude), np.arange(count).astype(str), trained)


class CornerPixels:
    """An embedder that counts its calls and is not the same for a window and its mirror image."""

    side = 8

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, flux: Flux) -> Vectors:
        self.calls += 1
        return unit(np.nan_to_num(flux[:, 1:4, 0, :2]).reshape(len(flux), -1))


def test_measures_of_a_ranking_worked_out_by_hand() -> None:
    ranked = hits("L.L....L")  # lenses at ranks 1, 3 and 8
    places = metrics.places(ranked)
    assert measures.average_precision(places) == pytest.approx((1 / 1 + 2 / 3 + 3 / 8) / 3)
    assert measures.purity(4)(places) == 0.5
    assert measures.recall(4)(places) == pytest.approx(2 / 3)
    gains = 1 / np.log2([2, 4, 9])
    assert measures.ndcg(8)(places) == pytest.approx(gains.sum() / (1 / np.log2([2, 3, 4])).sum())
    assert metrics.recall_curve([ranked, hits("LL......")], 3).tolist() == pytest.approx([5 / 12, 2 / 3, 5 / 6])


def test_leave_one_out_never_counts_the_query_itself() -> None:
    """Two lenses that are each other's nearest, two others: a perfect ranking, however similar each is to itself."""
    similarity = np.array([[1, 0.9, 0.1, 0], [0.9, 1, 0.2, 0.1], [0.1, 0.2, 1, 0.5], [0, 0.1, 0.5, 1]])
    estimates = metrics.leave_one_out(similarity, hits("LL.."))
    assert [row.tolist() for row in estimates] == [[True, False, False]] * 2


def test_a_constant_similarity_gives_lenses_no_advantage() -> None:
    estimates = metrics.leave_one_out(np.ones((40, 40)), hits("LLLL" + "." * 36))
    assert np.mean([measures.average_precision(metrics.places(row)) for row in estimates]) < 0.1


def test_the_area_under_the_curve_counts_ties_a_half() -> None:
    is_lens = hits("LL..")
    assert estimate_auc(np.array([3.0, 2, 1, 0]), is_lens).value == 1
    assert estimate_auc(np.array([1.0, 1, 1, 1]), is_lens).value == 0.5
    assert estimate_auc(np.array([2.0, 0, 1, 0]), is_lens).value == pytest.approx((2 + 0.5) / 4)


def test_the_bootstrap_of_the_area_is_that_of_really_resampled_objects() -> None:
    random = np.random.default_rng(3)
    is_lens = np.arange(60) < 20
    score = random.normal(size=60) + is_lens
    counts = draw_counts(is_lens)
    rows = np.repeat(np.arange(60), counts[7].astype(int))
    again = estimate_auc(score[rows], is_lens[rows]).value
    assert estimate_auc(score, is_lens).draws[7] == pytest.approx(again)
    assert counts[:, :20].sum(axis=1).tolist() == [20] * DRAWS


def test_the_share_of_variance_explained_and_its_bootstrap() -> None:
    truth = np.random.default_rng(4).normal(5, 2, 50)
    guess = truth + np.random.default_rng(5).normal(0, 1, 50)
    estimate = estimate_r2(truth, guess)
    assert estimate.value == pytest.approx(1 - np.sum((truth - guess) ** 2) / np.sum((truth - truth.mean()) ** 2))
    rows = np.repeat(np.arange(50), draw_counts(np.zeros(50))[3].astype(int))
    assert estimate.draws[3] == pytest.approx(estimate_r2(truth[rows], guess[rows]).value)
    assert estimate_r2(truth, np.full(50, truth.mean())).value == pytest.approx(0)


def test_an_interval_holds_its_mean_and_narrows_with_more_queries() -> None:
    random = np.random.default_rng(1)
    few, many = (estimate_paired_mean(random.uniform(size=n)) for n in (20, 2000))
    assert few.low < few.value < few.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_a_small_paired_difference_is_seen_where_the_intervals_overlap() -> None:
    values = np.random.default_rng(2).uniform(size=100)
    one, other = estimate_paired_mean(values + 0.01), estimate_paired_mean(values)
    assert one.low < other.high
    assert difference(one, other).low > 0


def test_seeds_are_averaged_and_their_spread_is_kept() -> None:
    seeds = [PairedEstimate.of(value, np.full(DRAWS, value)) for value in (0.4, 0.5, 0.6)]
    mean = average(seeds)
    assert (mean.value, mean.low, mean.spread) == pytest.approx((0.5, 0.5, 0.1))


def test_matched_negatives_are_the_nearest_in_magnitude_and_taken_once() -> None:
    labelled = windows(2, [18.0, 22.0, 18.1, 21.9, 25.0, 17.9, 22.2, 15.0])
    rows = matched(labelled, each=2)
    assert rows[:2].tolist() == [0, 1]
    assert set(rows[2:4].tolist()) == {2, 5}
    assert set(rows[4:].tolist()) == {3, 6}


def test_objects_seen_otherwise_keep_their_pixels() -> None:
    labelled = windows(1, [20.0, 21.0])
    assert changes(labelled)[:3] == ["without g", "without r", "without i"]
    views = {name: changed(labelled.flux, labelled, name) for name in changes(labelled)}
    assert np.isnan(views["without r"][:, 2]).all()
    np.testing.assert_array_equal(views["mirrored"][..., ::-1], labelled.flux)
    np.testing.assert_array_equal(np.rot90(views["turned 90 degrees"], -1, axes=(2, 3)), labelled.flux)
    assert is_own_nearest(np.eye(3, dtype=np.float32)[[0, 2, 2]], np.eye(3, dtype=np.float32)).tolist() == [1, 0, 1]


def test_added_noise_doubles_that_of_the_sky() -> None:
    random, sky = np.random.default_rng(0), np.array([1, 2, 5, 9, 3])[:, None, None]
    flux = (random.normal(size=(40, 5, 32, 32)) * sky).astype(np.float32)
    flux[:, 4] = np.nan
    labelled = LabelledWindows(flux, np.zeros(40, bool), np.zeros(40), np.zeros(40, str), np.zeros(40, bool))
    noisy = changed(flux, labelled, "with twice the noise")
    assert noisy.dtype == np.float32
    assert np.std(noisy[:, :4], axis=(0, 2, 3)) / sky[:4, 0, 0] == pytest.approx(2, rel=0.05)
    assert np.isnan(noisy[:, 4]).all()


def test_the_mean_of_eight_turns_does_not_know_how_a_window_lies() -> None:
    flux, plain = windows(1, [20.0] * 6).flux, CornerPixels()
    eight = TurnAverage(plain)
    np.testing.assert_allclose(eight.embed(np.rot90(flux, 3, axes=(2, 3))), eight.embed(flux), atol=1e-6)
    np.testing.assert_allclose(eight.embed(flux.swapaxes(2, 3)), eight.embed(flux), atol=1e-6)
    assert np.abs(plain.embed(flux[..., ::-1]) - plain.embed(flux)).max() > 0.1


def test_a_set_is_embedded_once_also_for_its_short_vectors() -> None:
    plain, labelled = CornerPixels(), windows(1, [20.0] * 6)
    whole = Embeddings(lambda _: plain, plain.side)
    short = ShortEmbeddings(whole, 3)
    first = whole.of(labelled)
    np.testing.assert_allclose(short.of(labelled), unit(first[:, :3]))
    assert whole.of(labelled) is first
    assert plain.calls == 1


def test_what_models_were_trained_on_is_left_out_of_the_unseen() -> None:
    labelled = windows(2, [20.0, 21.0, 20.1, 21.1, 20.2])
    assert subsets(labelled)["unseen"].tolist() == [0, 1, 2, 3]


def test_an_object_is_looked_for_with_some_of_its_bands() -> None:
    """The r band of the third object is that of the second: in r alone it is not itself any more."""
    flux = np.random.default_rng(0).normal(size=(6, 5, 8, 8)).astype(np.float32)
    flux[2, 2] = flux[1, 2]
    bands: list[str] = []

    class Pixels:
        side = 8

        def embed(self, flux: Flux) -> Vectors:
            bands.append("".join(np.array(list("ugriz"))[np.isfinite(flux).all(axis=(0, 2, 3))]))
            return unit(np.nan_to_num(flux).reshape(len(flux), -1))

    sets = SimpleNamespace(exposure_pairs=SimpleNamespace(name="twice", flux=flux))
    estimates = some_bands(sets, Embeddings(lambda _: Pixels(), 8)).estimates  # type: ignore[arg-type]
    assert bands == ["ugriz", "griz", "uriz", "ugiz", "ugrz", "ugri", "gri", "r"]
    assert estimates.pop("itself in r alone").value == pytest.approx(5 / 6)
    assert {estimate.value for estimate in estimates.values()} == {1.0}
    assert all(one.low == pytest.approx(1 - 0.39, abs=0.005) for one in estimates.values())  # of Wilson, 6 of 6


def test_pictures_are_scaled_to_what_a_model_sees(tmp_path: Path) -> None:
    """However large the windows of the other sets are: a model must not get the middle of a picture instead."""
    folder = tmp_path / "labelled" / "galaxy_nongalaxy"
    folder.mkdir(parents=True)
    lines = ["file,label"]
    for number in range(20):
        bright = np.zeros((40, 40, 3), np.uint8)
        bright[:4] = 20 * number % 200 + 20
        Image.fromarray(bright).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'galaxy' if number % 2 else 'star'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    sets, shapes = Sets(tmp_path, tmp_path, side=12), []
    plain = CornerPixels()
    galaxy(sets, Embeddings(lambda flux: shapes.append(flux.shape) or plain, plain.side))
    assert shapes == [(20, 5, 8, 8)]
    assert (sets.pictures(8).flux[:, 2, 0] > 0).all()


def test_questions_are_drawn_apart_since_their_pictures_differ() -> None:
    """Two questions that happen to have the same answers and scores tell twice as much as one of them."""
    answer = np.tile(np.repeat(["no", "yes"], 20), 2)
    flux = np.random.default_rng(6).normal(size=(40, 5, 8, 8)).astype(np.float32)
    flux[20:, 2] += 0.5
    question = np.repeat(["Is it a disc?", "Is it round?"], 40)
    zoo = Questions("twice", np.tile(flux, (2, 1, 1, 1)), np.full(80, "decals"), question, answer)
    sets = SimpleNamespace(zoo=lambda side: zoo)
    estimates = galaxy_zoo(sets, Embeddings(lambda _: CornerPixels(), 8)).estimates  # type: ignore[arg-type]
    mean, *single = (estimates[name] for name in ("mean AUC", "AUC of 40: Is it a disc?", "AUC of 40: Is it round?"))
    assert mean.value == single[0].value == single[1].value
    assert mean.high - mean.low < 0.85 * min(one.high - one.low for one in single)


def test_the_central_window_is_in_the_middle() -> None:
    flux = np.arange(36.0).reshape(1, 6, 6)
    np.testing.assert_array_equal(central(flux, 2)[0], [[14, 15], [20, 21]])


def test_magnitudes_do_not_care_how_a_window_lies_in_memory() -> None:
    flux = windows(1, [20.0, 21.5, 23.0]).flux[:, 2]
    np.testing.assert_allclose(magnitudes(flux[..., ::-1]), magnitudes(flux), atol=1e-3)
    np.testing.assert_allclose(magnitudes(np.rot90(flux, axes=(1, 2))), magnitudes(flux), atol=1e-3)


class Scored(CornerPixels):
    """An embedder whose lens score is the pixel in the middle of the first band with data."""

    def score(self, flux: Flux) -> np.ndarray:
        return flux[:, 1, 4, 4].astype(np.float64)


def scored_sets() -> SimpleNamespace:
    """Sixteen lenses among forty objects; scores know half of them, and vectors the others."""
    labelled = windows(16, list(np.linspace(20, 22, 40)))
    labelled.flux[:, 1, 4, 4] = np.random.default_rng(1).normal(0, 1, 40) + 3 * (np.arange(40) < 8)
    labelled.flux[:16, 1, 0, 0] = np.where(np.arange(16) >= 8, 6.0, 2.0)
    return SimpleNamespace(lenses=labelled)


def test_rows_of_the_lens_score_worked_out_by_hand() -> None:
    sets = scored_sets()
    score = sets.lenses.flux[:, 1, 4, 4].astype(float)
    estimates = lens_score(sets, Embeddings(lambda _: Scored(), 8)).estimates  # type: ignore[arg-type]
    order = np.argsort(-score)
    right = (order < 16).tolist()
    precision = [np.mean(right[: place + 1]) for place in range(40) if right[place]]
    assert estimates["AP all"].value == pytest.approx(np.mean(precision))
    assert estimates["P@10 all"].value == np.mean(right[:10])
    assert estimates["AUC all"].value == np.mean(score[:16, None] > score[None, 16:])
    assert estimates["AP all"].low < estimates["AP all"].value < estimates["AP all"].high
    # The last object is the only one that models may be trained on.
    assert set(estimates) == {
        f"{name} {part}" for name in ("AP", "P@10", "recall@50", "AUC") for part in subsets(sets.lenses)
    }


def test_score_and_examples_find_more_together_and_a_model_without_scores_has_no_such_row() -> None:
    sets = scored_sets()
    estimates = fused(sets, Embeddings(lambda _: Scored(), 8), examples=4, draws=10).estimates  # type: ignore[arg-type]
    assert estimates["fused: AP"].value > estimates["examples: AP"].value + 0.02
    plain = Embeddings(lambda _: CornerPixels(), 8)
    assert {name.split(":")[0] for name in fused(sets, plain, examples=4, draws=3).estimates} == {"examples"}  # type: ignore[arg-type]
    assert not lens_score(sets, plain).estimates  # type: ignore[arg-type]


def test_look_alikes_are_counted_above_the_median_painted_lens(tmp_path: Path) -> None:
    flux = np.zeros((10, 5, 10, 10), np.float32)
    # Lenses, hosts and a ring; a simulated lens on which nothing was painted; one of another split.
    flux[:, 1, 5, 5] = [1, 2, 3, 4, 5, 0, 2.5, 0, 9, 9]
    labels = ["lens"] * 5 + ["galaxy"] * 2 + ["ring", "lens", "lens"]
    kinds = ["painted"] * 8 + ["object", "painted"]
    entries = []
    for split, rows in (("validate", np.arange(10) < 9), ("train", np.arange(10) == 9)):
        table = make_table(rows.sum(), label=np.array(labels)[rows], kind=np.array(kinds)[rows])
        about = {"split": split, "source": "painted"}
        entries.append(write_shard(tmp_path, split, [Shard(flux[rows], table)], about, window=10))
    write_manifest(tmp_path, entries, 0, window=10)
    guide = np.zeros((3, 5, 8, 8), np.float32)
    guide[:, 1, 4, 4] = [3.5, 3, 0]
    sets = Sets(tmp_path, tmp_path, side=8, painted=tmp_path)
    sets.__dict__["lookalikes"] = LookAlikes(guide, np.array(["ring or spiral", "ring or spiral", "star"]))
    estimates = lookalikes(sets, Embeddings(lambda _: Scored(), 8)).estimates
    assert {name: estimate.value for name, estimate in estimates.items()} == pytest.approx(
        {"above: all look-alikes": 1 / 3, "above: ring or spiral": 1 / 2, "above: star": 0.0,
         "AUC painted: galaxy": (5 + 3) / 10, "AUC painted: ring": 1.0}
    )  # fmt: skip
    assert {name: estimate.counts for name, estimate in estimates.items()} == {
        "above: all look-alikes": (3,), "above: ring or spiral": (2,), "above: star": (1,),
        "AUC painted: galaxy": (5, 2), "AUC painted: ring": (5, 1),
    }  # fmt: skip
    for folder, side, code in ((tmp_path / "none", 8, "evaluate.no_data"), (tmp_path, 12, "evaluate.window")):
        with pytest.raises(ScannerError) as caught:
            load_painted(folder, side)
        assert caught.value.code == code
    with pytest.raises(ScannerError) as caught:
        _ = Sets(tmp_path, tmp_path, side=8).painted
    assert "--painted" in caught.value.hint


@pytest.mark.parametrize("name", TASKS)
def test_every_task_of_the_list_is_a_function(name: str) -> None:
    assert callable(resolve_name(f"training.evaluate.tasks.{TASKS[name]}"))
