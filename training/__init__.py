"""Pixels to weights: simulate, cut, pre-train and inspect the masked autoencoder."""
