"""Ranking: objects scored by examples, calibrated, marked and evaluated, and the outliers among them."""
