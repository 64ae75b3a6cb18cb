"""Surveys: the names, bands, zero points and grid of a survey file, and the tiles of a list or folder that it names."""
