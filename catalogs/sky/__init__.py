"""The sky: angular distances, cross-matches, the UNIONS tile grid and which tile owns an overlap."""

GRIDS = ("unions",)
"""Names of the tile grids."""
