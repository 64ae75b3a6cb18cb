"""The encoder: a model file and its contract, its ONNX Runtime session, and embeddings in batches."""

import os

# Before ONNX Runtime is imported: it would write a record of its use to the home and the temporary folder.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
