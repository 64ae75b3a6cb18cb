"""Statistics of an evaluation: ranking measures, linear probes and bootstrap intervals."""
