"""Painting of lenses and look-alikes into real pixels: around plausible hosts, in the PSF of the field."""
