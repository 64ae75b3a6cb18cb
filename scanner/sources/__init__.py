"""Sources: where to look in a tile, by detection, from a table of positions or on a grid, and their photometry."""

DETECTION_VERSION = 5
"""Version of detection and photometry, and of what pixels and positions mean. Raise it whenever rows would change:
tiles of an earlier version are then scanned again, so that a catalogue never mixes two. It stands here because
``--help`` must not load numpy."""
