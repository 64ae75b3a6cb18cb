"""The decoders in C under the sanitisers of the compiler: no address and no behaviour that is not defined."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support import sanitised

MUTANTS = int(os.environ.get("SCANNER_MUTANTS", "1000"))
SOURCE = sanitised.SOURCE.parent

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="needs gcc and its sanitisers"
)


def test_spoilt_streams_of_every_kind(tmp_path: Path) -> None:
    done = sanitised.run(sanitised.compile_decoders(tmp_path), MUTANTS)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(sanitised.kinds())
    assert all("refused" in line and "taken" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "check", "without"),
    [
        ("_rice.h", "if (s->end - s->next >= 8)", "if (s->end - s->next >= 0)"),
        ("_decoders.c", "calloc(pixels + 2 * codes, 1)", "calloc(pixels + codes, 1)"),
        ("_decoders.c", "raw.len == out.len", "1"),
    ],
)
def test_a_check_less_is_noticed(name: str, check: str, without: str, tmp_path: Path) -> None:
    """Sanitisers that find nothing must be ones that could have."""
    for path in SOURCE.glob("_*.[ch]"):
        text = path.read_text()
        if path.name == name:
            assert check in text
            text = text.replace(check, without)
        (tmp_path / path.name).write_text(text)
    module = sanitised.compile_decoders(tmp_path, source=tmp_path / "_decoders.c")
    done = sanitised.run(module, 300)
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
