"""The encoder: a model file and its contract, its ONNX Runtime session, and embeddings in batches."""
