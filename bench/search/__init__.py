"""Benchmarks of search and storage: index, latency, libraries, readers, ranking and publication."""
