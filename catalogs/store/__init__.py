"""The store: tile files of a catalogue on disk, their schema, footers and provenance, and rows read from them."""
