"""Eight orientations of a cutout: each once, the sky turned and nothing else."""

from __future__ import annotations

import numpy as np

from scanner.windows.orientations import ORIENTATIONS, orient, orientations


def test_orientations_are_all_eight_and_turn_the_sky_alone() -> None:
    window = np.arange(2 * 9, dtype=np.float32).reshape(2, 3, 3)
    turned = orientations(window)
    assert turned.shape == (ORIENTATIONS, 2, 3, 3)
    assert len({one.tobytes() for one in turned}) == 8
    np.testing.assert_array_equal(turned[0], window)
    assert np.all(np.sort(turned[:, 0].reshape(8, -1), axis=1) == np.arange(9))  # bands stay apart
    assert {float(one[0, 1, 1]) for one in turned} == {4.0}


def test_one_orientation_is_a_view_of_any_stack_of_images() -> None:
    stack = np.arange(2 * 3 * 16).reshape(2, 3, 4, 4)
    for number in range(ORIENTATIONS):
        assert np.shares_memory(orient(stack, number), stack)
        np.testing.assert_array_equal(orient(stack, number)[1, 2], orient(stack[1, 2], number))
    np.testing.assert_array_equal(orient(stack, 4), stack[..., ::-1])
