"""The page: a server for one person's browser, to search a catalogue and to judge candidates. Needs the extra [web]."""

from __future__ import annotations

PORT = 8431
"""Port of the server where none is given."""
HOST = "127.0.0.1"
