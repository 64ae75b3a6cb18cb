"""Bands of optical surveys: their order, and the colours that pictures give them."""

from __future__ import annotations

BANDS = ("u", "g", "r", "i", "z")
"""The bands of UNIONS: channels of training cutouts and simulated tiles, in this order."""

BLUE_TO_RED = "ugrizy"

TRIPLES = ("irg", "zrg", "zig", "rgu", "iru", "zru", "ziu")
"""Red, green and blue channel of a composite: the first triple whose bands are all there; gri is usual for lenses."""

WEIGHTS = {"u": 2.6, "g": 1.7, "r": 0.6, "i": 0.4, "z": 0.32, "y": 0.3}
"""Factors of fluxes in nJy that make an average galaxy neutral in a gallery.

Source: the gri composites of Space Warps (Marshall et al. 2016, MNRAS 455, 1171), continued to u, z and y.
"""

COLOURS = (("g", "r"), ("g", "i"), ("r", "i"), ("u", "r"), ("r", "z"), ("i", "z"), ("g", "z"))
"""Pairs of bands for the colour of a map: the first pair in which most objects are measured."""
