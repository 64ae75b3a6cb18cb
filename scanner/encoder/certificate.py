"""Certificates: how well a runtime agrees with ONNX Runtime on a processor, as measured there, kept as small files."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from catalogs.atomic import write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from scanner.encoder.agreement import THRESHOLDS, Agreement

FOLDER = "runtimes"
"""The folder of a catalogue that holds them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """What a certificate is about: ``software`` is the runtime with its version. In bf16 processors differ."""

    runtime: str
    software: str
    precision: str
    processor: str
    model_sha256: str

    @property
    def name(self) -> str:
        """Name of the file."""
        digest = hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()
        return f"{self.runtime}-{self.precision}-{digest[:12]}.json"


@dataclass(frozen=True)
class Certificate:
    """The agreement of a runtime with ONNX Runtime, computing the same model file in the file's own format."""

    subject: Subject
    agreement: Agreement

    def __str__(self) -> str:
        return f"{self.subject.precision} by {self.subject.software} against ONNX Runtime, here: {self.agreement}"

    def check(self) -> None:
        """Raise ``runtime.disagrees`` if the agreement is below the ``THRESHOLDS`` of the precision."""
        if failures := THRESHOLDS[self.subject.precision].list_failures(self.agreement):
            raise ScannerError(
                ErrorCode.RUNTIME_DISAGREES,
                f"{self.subject.software} in {self.subject.precision} disagrees with ONNX Runtime on "
                f"{self.subject.processor}: {', '.join(failures)}.",
                "Leave out --runtime openvino, or choose another --precision.",
            )

    def write(self, folder: Path) -> None:
        """Keep it in ``folder``, unless it is there or another file is in its place. Raises ``output.*``."""
        path = folder / self.subject.name
        if not path.exists() or _read(path) not in (None, self):
            write_json(path, asdict(self))


def find(folder: Path | None, subject: Subject) -> Certificate | None:
    """Find the certificate of ``subject`` in ``folder``; None where there is none, or none that can be read."""
    certificates = (_read(folder / subject.name),) if folder is not None else ()
    return next((one for one in certificates if one is not None and one.subject == subject), None)


def find_all(folder: Path) -> Iterator[Certificate]:
    """Yield the certificates of a folder, sorted by name."""
    for path in sorted(folder.glob("[!.]*.json")):
        if (certificate := _read(path)) is not None:
            yield certificate


def _read(path: Path) -> Certificate | None:
    try:
        return read_record(load_json(path), Certificate)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        # It is measured again, and what is not a certificate stays where it is.
        log.warning("%s cannot be read: %s", path, error)
        return None
