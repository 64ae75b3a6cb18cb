"""Completeness: the share of injected lenses that a ranking finds, and what else lies above the same threshold."""
