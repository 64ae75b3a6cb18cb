"""What an encoder is worth on real lenses: retrieval, probes, few-shot ranking, invariance, with intervals."""
