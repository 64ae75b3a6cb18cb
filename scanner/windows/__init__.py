"""Windows: the square of pixels around a source in every band, as the encoder takes it."""
