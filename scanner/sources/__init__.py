"""Sources: where to look in a tile, by detection, from a table of positions or on a grid, and their photometry."""

DETECTION_VERSION = 4
"""The version of detection and photometry. Raise it whenever other software would give other rows, so that a catalogue
never mixes two versions: tiles of an earlier one are scanned again. It stands here
because ``--help`` must not load numpy."""
