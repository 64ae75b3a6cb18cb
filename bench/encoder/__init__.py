"""Benchmarks of the encoder: throughput, precision formats, and a bare PyTorch loop."""
