"""Tables of any format as columns: text, FITS, VOTable and Parquet, within bounds of memory."""
