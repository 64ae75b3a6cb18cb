"""Exact search over half-precision vectors in a map is exact: it finds what numpy finds in double precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalogs.index import half_vectors
from catalogs.index.half_vectors import HalfVectors
from catalogs.store import vectors


def stored(path: Path, count: int, dim: int, mean: float = 0.0) -> np.ndarray:
    """Vectors as a catalogue holds them, of any length, and their file."""
    rng = np.random.default_rng([count, dim])
    given = rng.normal(size=(count, dim)) * (np.arange(dim) + 1.0) ** -0.5 + mean
    rounded = vectors.round_mantissa((given * rng.uniform(1e-3, 1e3, (count, 1))).astype(np.float32))
    path.write_bytes(half_vectors.pack(rounded).tobytes())
    return rounded


def cosines(embedding: np.ndarray, direction: np.ndarray) -> np.ndarray:
    embedding, direction = embedding.astype(np.float64), direction.astype(np.float64)
    return embedding @ direction / np.linalg.norm(embedding, axis=1) / np.linalg.norm(direction)


def directions(count: int, dim: int) -> np.ndarray:
    return vectors.unit(np.random.default_rng(count).normal(size=(count, dim)).astype(np.float32))


def test_nothing_is_lost_but_the_smallest_numbers(tmp_path):
    embedding = stored(tmp_path / "f16", 500, 48)
    found = HalfVectors(tmp_path / "f16", 48)
    back = np.concatenate(list(found.leading(48)))
    scale = np.median(back / embedding, axis=1, keepdims=True)
    assert np.all(np.log2(scale) % 1 == 0)
    assert np.abs(back - embedding * scale).max() <= 2**-25
    everything = np.arange(500)
    for direction in directions(3, 48):
        assert np.abs(found.cosines(everything, direction) - cosines(embedding, direction)).max() < 5e-7


@pytest.mark.parametrize(
    ("count", "dim", "k", "asked"), [(1, 3, 5, 1), (700, 16, 10, 3), (70_000, 8, 50, 2), (9_000, 32, 20, 700)]
)
@pytest.mark.parametrize("mean", [0.0, 3.0], ids=["centred", "anisotropic"])
def test_the_best_are_the_best(tmp_path, count, dim, k, asked, mean):
    embedding = stored(tmp_path / "f16", count, dim, mean)
    queries = directions(asked, dim)
    answers = HalfVectors(tmp_path / "f16", dim).best(queries, k)
    assert len(answers) == asked
    for query, (numbers, cosine) in list(zip(queries, answers, strict=True))[:20]:
        truth = cosines(embedding, query)
        assert len(numbers) == len(set(numbers)) == min(k, count)
        assert np.allclose(cosine, truth[numbers], atol=5e-7)
        assert np.allclose(np.sort(cosine)[::-1], np.sort(truth)[::-1][:k], atol=5e-7)


def test_a_selection_of_rows_is_all_that_is_looked_at(tmp_path):
    embedding = stored(tmp_path / "f16", 5000, 16)
    rows = np.flatnonzero(np.random.default_rng(1).random(5000) < 0.1)
    query = directions(1, 16)
    numbers, _ = HalfVectors(tmp_path / "f16", 16).best(query, 10, rows)[0]
    assert set(numbers) == set(rows[np.argsort(-cosines(embedding[rows], query[0]))[:10]])
    assert len(HalfVectors(tmp_path / "f16", 16).best(query, 10, np.zeros(0, np.int64))[0][0]) == 0


def test_equals_are_all_kept_until_they_are_told_apart(tmp_path):
    """Many copies of one vector and one that is better by less than half precision can tell."""
    better = directions(1, 16)[0]
    embedding = vectors.round_mantissa(np.tile(better + np.float32(2e-3) * directions(2, 16)[1], (5000, 1)))
    embedding[3210] = vectors.round_mantissa(better)
    (tmp_path / "f16").write_bytes(half_vectors.pack(embedding).tobytes())
    truth = cosines(embedding, better)
    numbers, cosine = HalfVectors(tmp_path / "f16", 16).best(vectors.unit(better[None]), 3)[0]
    assert truth[3210] > np.delete(truth, 3210).max()
    assert numbers[np.argmax(cosine)] == 3210


def test_an_empty_file_and_one_of_another_dimension(tmp_path):
    (tmp_path / "f16").write_bytes(b"")
    assert len(HalfVectors(tmp_path / "f16", 16)) == 0
    assert len(HalfVectors(tmp_path / "f16", 16).best(directions(2, 16), 3)[0][0]) == 0
    stored(tmp_path / "f16", 7, 16)
    with pytest.raises(ValueError, match="not a multiple"):
        HalfVectors(tmp_path / "f16", 24)


def test_every_number_of_16_bits_is_read_as_numpy_reads_it(tmp_path):
    numbers = np.arange(2**16, dtype=np.uint16).view(np.float16)
    rows = np.zeros(512, half_vectors.record_type(128))
    rows["vector"] = numbers.reshape(512, 128)
    (tmp_path / "f16").write_bytes(rows.tobytes())
    found, expected = HalfVectors(tmp_path / "f16", 128), numbers.reshape(512, 128).astype(np.float32)
    some = np.array([511, 3, 3, 0])
    assert np.array_equal(found.between(0, 512), expected, equal_nan=True)
    assert np.array_equal(found.chosen(some), expected[some], equal_nan=True)
    assert np.array_equal(next(found.leading(5)), expected[:, :5], equal_nan=True)
    assert found.chosen(some[:0]).shape == (0, 128)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not say what is resident")
def test_pages_of_a_pass_are_unmapped_unless_they_stay(tmp_path):
    def resident() -> int:
        mappings = Path("/proc/self/smaps").read_text(encoding="utf-8").split(str(tmp_path / "f16"))[1:]
        return sum(int(each.split("Rss:")[1].split()[0]) for each in mappings)

    stored(tmp_path / "f16", 3000, 32)
    found = [HalfVectors(tmp_path / "f16", 32, stay) for stay in (False, True)]
    read = []
    for one, stays in zip(found, (False, True), strict=True):
        read.append(one.between(0, 3000))
        assert (resident() > 0) is stays
    assert np.array_equal(*read)
