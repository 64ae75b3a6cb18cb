"""Injection of painted lenses into the tiles of a survey: the same files with more light in them, and a truth table."""
