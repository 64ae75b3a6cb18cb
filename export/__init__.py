"""Export of weights to encoder.onnx: one graph from fluxes in nanojansky to embeddings."""

LICENCE = "BSD-3-Clause"
"""Licence of exported weights: an SPDX name."""
