"""Studies of training: variants at equal compute, pooling and whitening, and where the limits lie."""
