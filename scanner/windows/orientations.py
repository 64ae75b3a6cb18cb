"""The eight orientations of a cutout: the sky has no preferred direction and no preferred handedness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ORIENTATIONS = 8
"""Four quarter turns, and those of the mirror image."""


def orient(image: NDArray[Any], number: int) -> NDArray[Any]:
    """Turn and mirror an image [..., S, S], as a view; ``number`` is 0 (as it is) to 7, the mirrored ones from 4."""
    mirrored = image[..., ::-1] if number & 4 else image
    return np.rot90(mirrored, number & 3, axes=(-2, -1))


def orientations(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """All eight orientations [8, ..., S, S] of an image [..., S, S], the first as it is."""
    return np.stack([orient(image, number) for number in range(ORIENTATIONS)])
