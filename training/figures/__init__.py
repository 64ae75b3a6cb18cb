"""Figures of training: what the autoencoder fills into masked cutouts."""
