"""Search: neighbours of examples among all rows of a catalogue, exactly in one pass or by the index."""
