"""The harness of every benchmark: machine, timing, tables, and the tiles and embeddings they run on."""
