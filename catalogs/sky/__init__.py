"""The sky: angular distances, cross-matches, the UNIONS tile grid and which tile owns an overlap."""
