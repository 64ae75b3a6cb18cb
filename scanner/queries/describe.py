"""Descriptions of a catalogue or a model, as JSON values with readable names."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import catalogs
from catalogs.errors import ScannerError
from catalogs.index import coverage
from catalogs.index.build import count_indexed_rows
from catalogs.lance.dataset import LanceStore
from catalogs.maps import read as maps
from catalogs.parallel import in_threads
from catalogs.store.footers import Footer
from catalogs.store.provenance import Info
from catalogs.store.tile_store import TileStore
from scanner.encoder import certificate
from scanner.encoder.encoder import Encoder


def model(name_or_path: str) -> dict[str, Any]:
    """Describe a model file: its contract, with the scores that it gives, digest and size in bytes."""
    # A description needs no GPU, and works on any machine.
    with Encoder(name_or_path, device="cpu") as encoder:
        return {
            "model": str(encoder.path),
            "sha256": encoder.sha256,
            "bytes": encoder.path.stat().st_size,
            **encoder.contract.to_dict(),
        }


def catalogue(path: Path, verify: bool = False) -> dict[str, Any]:
    """Describe a catalogue: survey, model, tiles, objects, failures, bytes on disk, and the rows in its index.

    ``damaged`` has the code and the message of each file that cannot be used. With ``verify`` every byte is read, and
    ``tiles_without_checksums`` counts tile files of earlier versions, whose damage may not be seen.
    """
    opened = catalogs.open(path)
    info = opened.info
    snapshot = opened.snapshot()
    damage = list(snapshot.errors)
    indexed = 0
    try:
        indexed = count_indexed_rows(opened, snapshot)
    except ScannerError as error:
        damage.append(error)
    verified: dict[str, Any] = {}
    if verify:
        files = list(in_threads(partial(_verify_tile, opened), snapshot.footers))
        verified["tiles_without_checksums"] = sum(not (problem or summed) for problem, summed in files)
        damage += [problem for problem, _ in files if problem]
        damage += [*coverage.find_damage(opened), *maps.find_damage(opened)]
    # The index is looked at twice.
    distinct = {str(error): error for error in damage}
    return {
        "catalogue": str(path),
        **_origin(info),
        "tiles": len(snapshot.footers) + len(snapshot.errors),
        # Footers hold the numbers of rows, so no tile is read in full.
        "objects": sum(footer.rows for footer in snapshot.footers),
        "objects_indexed": indexed,
        # Agreement of another runtime with ONNX Runtime, by processor.
        **({"measured": measured} if (measured := _measured(path)) else {}),
        "bytes": _count_bytes(path),
        "failures": [{"tile": failure.tile, "code": failure.code} for failure in opened.failures()],
        "damaged": [{"code": error.code, "message": error.message} for error in distinct.values()],
        **verified,
    }


def dataset(opened: LanceStore, verify: bool = False) -> dict[str, Any]:
    """Describe a Lance dataset. With ``verify`` every value of the rows is read and compared with its checksum."""
    info, snapshot, search = opened.info, opened.snapshot(), opened.record.search
    damage: list[ScannerError] = []
    if verify:
        files = list(in_threads(partial(_verify_tile, opened), snapshot.footers))
        damage = [problem for problem, _ in files if problem]
    return {
        "catalogue": opened.path,
        **_origin(info),
        "tiles": len(snapshot.footers),
        "objects": opened.record.rows,
        "objects_indexed": opened.record.rows if search else 0,
        "search": asdict(search) if search else None,
        "damaged": [{"code": error.code, "message": error.message} for error in damage],
    }


def _origin(info: Info) -> dict[str, Any]:
    """What the rows come from."""
    return {
        "survey": info.survey,
        "bands": list(info.bands),
        "model": info.model,
        "model_sha256": info.model_sha256,
        "runtime": info.runtime,
        "precision": info.precision,
        "embedding_dim": info.dim,
        **({"scores": info.scores.to_dict()} if info.scores else {}),
        "created": info.created,
        "software": info.software,
    }


def _measured(path: Path) -> list[dict[str, Any]]:
    """What was measured of the runtimes that embedded a catalogue."""
    found = certificate.find_all(path / certificate.FOLDER)
    return [
        {
            "software": one.subject.software,
            "precision": one.subject.precision,
            "processor": one.subject.processor,
            **one.agreement.to_dict(),
        }
        for one in found
    ]


def _count_bytes(folder: Path) -> int:
    """Add up the files of a folder; those that vanish meanwhile, or may not be looked at, count as nothing."""
    count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                status = Path(parent, name).stat()
                count += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return count


def _verify_tile(opened: TileStore | LanceStore, footer: Footer) -> tuple[ScannerError | None, bool]:
    """Read all of a tile: what is wrong with it, and whether it has checksums."""
    try:
        with opened.open_tile(footer.tile) as file:
            file.verify()
            return None, file.has_checksums
    except ScannerError as error:
        return error, False
