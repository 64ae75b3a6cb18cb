"""The one class of errors that users see."""

from __future__ import annotations

import pickle

from catalogs.errors import ErrorCode, ScannerError


def test_a_file_name_that_is_no_text_becomes_one() -> None:
    """Names of files are bytes; a message goes into JSON, logs and terminals."""
    error = ScannerError(ErrorCode.TILE_MISSING_FILE, "There is no file \udcff.fits.", "Rename \udcfe.")
    assert error.report() == "Error: There is no file \\udcff.fits.\nHint: Rename \\udcfe.\n[tile.missing_file]"
    assert pickle.loads(pickle.dumps(error)).report() == error.report()  # noqa: S301
