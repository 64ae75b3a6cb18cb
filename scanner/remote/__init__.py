"""Remote files: tiles behind a URL or in VOSpace are copied to a scratch folder ahead of the scan."""
