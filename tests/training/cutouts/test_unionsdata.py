"""Ready-made HDF5 cutouts become shards: calibrated, with gaps as NaN, and refused where bands cannot be told."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from catalogs.errors import ScannerError
from training.cli.cutouts import cutouts_command
from training.cutouts import production, shards, unionsdata

NAMES = (b"cfis-u", b"whigs-g", b"cfis_lsb-r")


def write(path: Path, side: int = 96, names: tuple[bytes, ...] = NAMES, rows: int = 300) -> np.ndarray:
    """Counts whose value tells row, channel and column; row 1 lies half outside its tile, row 2 almost wholly."""
    counts = np.ones((rows, len(NAMES), side, side), np.float32)
    counts *= 1 + np.arange(rows, dtype=np.float32)[:, None, None, None]
    counts += 1000 * np.arange(len(NAMES), dtype=np.float32)[:, None, None] + np.arange(side, dtype=np.float32) / 128
    counts[1:2, ..., : side // 2] = 0
    counts[2:3, ..., : side // 2 + 30] = 0
    counts[3:4, 1, 40:41, 40:41] = counts[4:5, 0, 40:41, 40:41] = 0
    with h5py.File(path, "w") as file:
        file["cutouts"] = counts
        file["bands"] = np.array(names)
        file["ra"], file["dec"] = np.linspace(10, 20, rows), np.full(rows, 30.0)
    return counts


def only(folder: Path) -> tuple[np.ndarray, dict[str, list[object]]]:
    (pixels,) = folder.glob("*.npy")
    return np.load(pixels), pq.read_table(pixels.with_suffix(".parquet")).to_pydict()


def test_counts_become_nanojansky_around_the_object(tmp_path: Path) -> None:
    counts = write(tmp_path / "217.292_cutouts.h5")
    out = tmp_path / "shards"
    done = CliRunner().invoke(cutouts_command, [str(out), "--hdf5", str(tmp_path / "217.292_cutouts.h5")])
    assert done.exit_code == 0, done.output
    pixels, table = only(out)
    assert pixels.shape == (299, 5, 80, 80)  # row 2 shows too little
    for channel, zero_point in enumerate((30.0, 27.0, 30.0)):
        expected = counts[7, channel, 8:88, 8:88] * 10 ** (-0.4 * (zero_point - 31.4))
        np.testing.assert_allclose(pixels[6, channel], expected, rtol=1e-6)
    assert np.isnan(pixels[:, 3:]).all()
    assert table["ra"][0] == 10.0
    assert table["frame"][0] == "217.292_cutouts"


def test_files_can_be_held_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.h5", rows=5)
    for name, more in (("a", []), ("b", ["--split", "validate"])):
        arguments = [str(tmp_path / "out"), "--hdf5", str(tmp_path / f"{name}.h5"), *more]
        assert CliRunner().invoke(cutouts_command, arguments).exit_code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [entry["split"] for entry in manifest["shards"]] == ["train", "validate"]


def test_a_file_without_cutouts_keeps_the_window_that_was_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", rows=0)
    production.produce(tmp_path / "out", unionsdata.file_tasks((tmp_path / "a.h5",), "unions", 64), seed=0, window=64)
    assert only(tmp_path / "out")[0].shape == (0, 5, 64, 64)


def test_a_part_is_no_larger_than_promised(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", side=16)
    (task,) = unionsdata.file_tasks((tmp_path / "a.h5",), "unions", window=16)
    assert [len(part.pixels) for part in task.parts()] == [shards.AT_ONCE - 1, 300 - shards.AT_ONCE]


def test_no_data_is_nan_and_a_zero_of_g_is_a_measurement(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    (task,) = unionsdata.file_tasks((tmp_path / "a.h5",), "unions")
    pixels = np.concatenate([part.pixels for part in task.parts()])
    assert np.isnan(pixels[1, :3, :, :40]).all()
    assert np.isfinite(pixels[1, :3, :, 40:]).all()
    assert pixels[2, 1, 32, 32] == 0
    assert np.isnan(pixels[3, 0, 32, 32])
    assert np.isfinite(pixels[3, 1:3, 32, 32]).all()


@pytest.mark.parametrize("side", [64, 65, 80, 81, 200])
def test_the_object_stays_in_the_middle_whatever_the_size(tmp_path: Path, side: int) -> None:
    counts = np.ones((1, 3, side, side), np.float32)
    counts[..., side // 2, side // 2] = 50
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cutouts"], file["bands"] = counts, np.array(NAMES)
    (task,) = unionsdata.file_tasks((tmp_path / "a.h5",), "unions")
    (part,) = task.parts()
    assert np.unravel_index(np.nanargmax(part.pixels[0, 0]), (80, 80)) == (40, 40)
    assert np.isfinite(part.pixels[0, 0]).sum() == min(side, 80) ** 2


@pytest.mark.parametrize(
    ("names", "code"),
    [(NAMES[:2], "cutout.unknown_bands"), ((*NAMES[:2], b"hubble"), "cutout.unknown_bands"), (NAMES, "")],
)
def test_a_band_that_failed_leaves_channels_nobody_can_name(
    tmp_path: Path, names: tuple[bytes, ...], code: str
) -> None:
    write(tmp_path / "a.h5", names=names, rows=5)
    made = (
        production.produce(tmp_path / "good", unionsdata.file_tasks((tmp_path / "a.h5",), "unions"), 0)
        if not code
        else None
    )
    if made is None:
        with pytest.raises(ScannerError) as caught:
            production.produce(tmp_path / "shards", unionsdata.file_tasks((tmp_path / "a.h5",), "unions"), 0)
        assert caught.value.code == code
        assert not (tmp_path / "shards" / "manifest.json").exists()


def test_what_is_no_such_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no")
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["cutouts"] = np.zeros((4, 80, 80))
    for name, code in (("text", "cutout.unreadable"), ("flat", "cutout.shape_mismatch")):
        with pytest.raises(ScannerError, match=name) as caught:
            list(unionsdata.file_tasks((tmp_path / f"{name}.h5",), "unions")[0].parts())
        assert caught.value.code == code
    with pytest.raises(ScannerError) as caught:
        unionsdata.file_tasks((tmp_path / "flat.h5",), "legacysurvey")
    assert caught.value.code == "shards.other_pixels"
