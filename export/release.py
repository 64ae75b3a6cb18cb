"""Release of a model: ONNX in three number formats, the weights, their configuration, the card, and checksums.

>>> encoder = load_release(Path("small"))  # a torch module of safetensors and config.json; nothing else is needed
>>> with torch.no_grad():
...     embedding = encoder(flux)  # float32 [N, B, S, S] in nJy, NaN for no data, to unit vectors [N, D]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save

from catalogs.atomic import replacing, write_text
from catalogs.digest import file_sha256
from catalogs.errors import ErrorCode, ScannerError
from export import LICENCE
from export.card import render
from export.fp16 import export_half
from export.int8 import export_int8
from export.to_onnx import Exported, export
from export.verify import comparison_pixels
from scanner.encoder.agreement import Agreement
from scanner.encoder.contract import of_precision
from training.loop.release_folder import CONFIG, WEIGHTS
from training.model.embedding import EmbeddingGraph
from training.model.embedding_options import DEFAULT, EmbeddingOptions

ENCODER, CARD, SUMS = "encoder.onnx", "README.md", "SHA256SUMS"
COMPARED, CALIBRATED = 512, 192
"""Number of cutouts that formats are compared on, and of others that calibrate activations."""


@dataclass(frozen=True)
class Release:
    """A complete folder, the float32 export in it, and the agreement of the other formats with it, by name."""

    folder: Path
    exported: Exported
    formats: dict[str, Agreement]


def release(
    checkpoint: Path,
    folder: Path,
    options: EmbeddingOptions | None = None,
    cutouts: Path | None = None,
    licence: str = LICENCE,
    evaluation: Path | None = None,
    first: Path | None = None,
) -> Release:
    """Write all files of a release into ``folder``, the checksums last.

    The files of an earlier release are removed first, so that none of them stays where a new one is refused.
    ``evaluation`` is the evaluation.json whose table goes into the card.

    Raises:
        ScannerError: ``release.not_empty``, ``export.precision``, ``evaluate.no_table``, or what ``export`` raises.
    """
    half, small = (of_precision(folder / ENCODER, name) for name in ("fp16", "int8"))
    named = (ENCODER, half.name, small.name, WEIGHTS, CONFIG)
    _remove_earlier(folder, (SUMS, CARD, *reversed(named)))
    done = export(checkpoint, folder / ENCODER, options, cutouts, licence, first)
    graph = done.checkpoint.embedding(options or DEFAULT)
    flux = comparison_pixels(graph, done.checkpoint.config, cutouts, COMPARED)
    # Activations are calibrated on other pixels than the formats are compared on.
    others = comparison_pixels(graph, done.checkpoint.config, cutouts, CALIBRATED, seed=1)
    formats = {
        "fp16": export_half(graph, done.contract, half, done.path, flux),
        "int8": export_int8(done.path, done.contract, small, others, flux),
    }
    write_weights(graph, folder / WEIGHTS)
    config = {
        "contract": done.contract.to_dict(),
        "recipe": asdict(graph.options),
        "training": done.checkpoint.config.to_dict(),
        "progress": dict(done.checkpoint.progress),
        "data": {"manifest_sha256": done.checkpoint.data["manifest_sha256"]},
    }
    write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    # The card lists the checksums of the files above, so it is written after them.
    write_text(folder / CARD, render(done, formats, [folder / name for name in named], evaluation))
    write_text(folder / SUMS, "".join(f"{file_sha256(folder / name)}  {name}\n" for name in (*named, CARD)))
    return Release(folder, done, formats)


def _remove_earlier(folder: Path, names: Sequence[str]) -> None:
    """Remove the files of an earlier release.

    The checksums, without which a folder is incomplete, are the first to go and the last to come. The encoder is the
    last to go and the first to come, so that a folder has one of the two at any time.
    """
    there = [name for name in names if (folder / name).exists()]
    if there and not {SUMS, ENCODER} & set(there):
        raise ScannerError(
            ErrorCode.RELEASE_NOT_EMPTY,
            f"{folder} is not a release, and has files of these names: {', '.join(there)}.",
            "Give a folder of its own.",
        )
    for name in there:
        (folder / name).unlink()


def write_weights(graph: EmbeddingGraph, path: Path) -> None:
    """Write all weights between flux and embedding: stretch, encoder, centring and rotation, without the decoder."""
    # safetensors stores contiguous tensors only.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in graph.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, {"format": "pt"}))
