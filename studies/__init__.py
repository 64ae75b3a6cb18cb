"""Studies: what the choices of training, ranking and outliers rest on. They need real pixels, torch and hours."""
