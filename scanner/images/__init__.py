"""Images: the bands of a tile as nanojansky with NaN for no data, their WCS, and the background beneath the sources."""
