"""Sources: where to look in a tile, by detection, from a table of positions or on a grid, and their photometry."""
