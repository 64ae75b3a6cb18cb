"""Export of weights to encoder.onnx: one graph from fluxes in nanojansky to embeddings."""

import os

LICENCE = "BSD-3-Clause"
"""Licence of exported weights: an SPDX name."""

# Before ONNX Runtime is imported: it would write a record of its use to the home and the temporary folder.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
