"""Benchmarks of search and storage: index, latency, rivals, readers, ranking and publication."""
