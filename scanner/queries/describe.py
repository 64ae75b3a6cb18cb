"""Descriptions of a catalogue or a model, as JSON values with readable names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catalogs
from catalogs.index.build import count_indexed_rows
from scanner.encoder.encoder import Encoder


def model(name_or_path: str) -> dict[str, Any]:
    """Describe a model file: its contract, digest and size in bytes."""
    # A description needs no GPU, and works on any machine.
    with Encoder(name_or_path, device="cpu") as encoder:
        return {
            "model": str(encoder.path),
            "sha256": encoder.sha256,
            "bytes": encoder.path.stat().st_size,
            **encoder.contract.to_dict(),
        }


def catalogue(path: Path) -> dict[str, Any]:
    """Describe a catalogue: survey, model, tiles, objects, failures, bytes on disk, and the rows in its index."""
    opened = catalogs.open(path)
    info = opened.info
    tiles = opened.tiles()
    return {
        "catalogue": str(path),
        "survey": info.survey,
        "bands": list(info.bands),
        "model": info.model,
        "model_sha256": info.model_sha256,
        "embedding_dim": info.dim,
        "created": info.created,
        "software": info.software,
        "tiles": len(tiles),
        # Footers hold the numbers of rows, so no tile is read in full.
        "objects": sum(footer.rows for footer in opened.snapshot().footers),
        "objects_indexed": count_indexed_rows(opened),
        "bytes": sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()),
        "failures": [{"tile": failure.tile, "code": failure.code} for failure in opened.failures()],
    }
