"""A hunt: a project's folder with cutouts of candidates, the scheme of their grades, and the record of all verdicts."""
