"""Remote files: copies of tiles that lie behind a URL or in VOSpace, made in a scratch folder ahead of the scan."""
