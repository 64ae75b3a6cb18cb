"""Studies that support the choices of training, ranking and outliers; they need real pixels, torch and hours."""
