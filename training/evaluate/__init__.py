"""Evaluation of encoders on real lenses, labelled pictures and simulations, beside baselines, with intervals."""

PIXEL_PCA, RANDOM_WEIGHTS, IMAGENET, MAGNITUDE = "pixel-pca-64", "random-weights", "imagenet", "magnitude"
BASELINES = (PIXEL_PCA, RANDOM_WEIGHTS, IMAGENET, MAGNITUDE)
"""Models to compare with, by name; see ``training.evaluate.baselines``."""
