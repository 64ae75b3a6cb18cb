"""Programs that made the data this repository ships. They are not part of the wheel."""
