"""Where an image lies on the sky: what its header says, and whether that is where it should be."""
