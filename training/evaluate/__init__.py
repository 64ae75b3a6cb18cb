"""Evaluation of encoders on real lenses, labelled pictures and simulations, beside baselines, with intervals."""

import os

PIXEL_PCA, RANDOM_WEIGHTS, IMAGENET, MAGNITUDE = "pixel-pca-64", "random-weights", "imagenet", "magnitude"
BASELINES = (PIXEL_PCA, RANDOM_WEIGHTS, IMAGENET, MAGNITUDE)
"""Models to compare with, by name; see ``training.evaluate.baselines``."""

# Before ONNX Runtime is imported: it would write a record of its use to the home and the temporary folder.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
