"""Catalogues as Lance datasets: written once, and searched by any number of machines.

A dataset is a folder, or a prefix of an object store, with two tables. ``objects.lance`` has the rows, tile by tile in
the order of the sky, and the indexes over them. ``tiles.lance`` says which rows are those of each tile; it is written
last, and nothing is changed afterwards. Lance only proposes rows: the filter of a question and the cosines in double
precision are computed here.
"""

PREFIX = "lance:"
"""Of the name of a dataset where a catalogue is asked for, as in ``lance:/archive/objects``."""
OBJECTS, TILES = "objects.lance", "tiles.lance"
TARGET_RECALL = 0.99
