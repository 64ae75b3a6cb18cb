"""Weights to encoder.onnx: one graph that holds everything between nanojansky and embedding."""
