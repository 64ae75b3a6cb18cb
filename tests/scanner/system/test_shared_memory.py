"""Shared memory that grows, is seen by both sides, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scanner.system.shared_memory import SharedArray

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no descriptors to inherit")


def test_both_sides_see_the_same_pixels() -> None:
    slot = SharedArray()
    slot.array((2, 3))[:] = 1.0
    code = (
        "import sys; from scanner.system.shared_memory import SharedArray\n"
        "array = SharedArray(int(sys.argv[1])).array((4, 500, 500)); array[3] = 7.0; array[0, 0, 0] += 1"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(slot.descriptor)],
        pass_fds=[slot.descriptor],
        check=True,
        cwd=Path(__file__).parents[3],
    )
    seen = slot.array((4, 500, 500))
    assert seen[0, 0, 0] == 2.0
    assert (seen[3] == 7.0).all()
    slot.close()


def test_arrays_outlive_growth_and_closing() -> None:
    slot = SharedArray()
    small = slot.array((10,))
    small[:] = 3.0
    large = slot.array((1000, 1000))
    assert large.flat[5] == 3.0
    slot.close()
    large += 1.0
    assert small[5] == 4.0
    assert slot.descriptor == -1


def test_a_smaller_tile_keeps_the_mapping() -> None:
    slot = SharedArray()
    first = slot.array((100, 100))
    assert np.shares_memory(first, slot.array((3, 5)))
    assert slot.array((0, 4)).shape == (0, 4)
    slot.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /dev/shm")
def test_nothing_is_left_in_dev_shm() -> None:
    before = set(Path("/dev/shm").iterdir())
    slot = SharedArray()
    slot.array((1000,))[:] = 1
    assert set(Path("/dev/shm").iterdir()) == before
    slot.close()
