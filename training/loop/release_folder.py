"""Folder of a release as the training sees it: ``config.json`` and the weights, without ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from training.config import Config
from training.loop.checkpoint import blank_graph, describe_stage
from training.model.embedding import EmbeddingGraph
from training.model.embedding_options import EmbeddingOptions

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def load_release(folder: Path) -> EmbeddingGraph:
    """Load the encoder of a release as a torch module in evaluation mode, from ``config.json`` and the weights.

    Raises:
        ScannerError: ``release.damaged`` if a file is missing or they do not fit each other.
    """
    try:
        values = load_json(folder / CONFIG)
        config = Config.from_recorded(values["training"], str(folder / CONFIG))
        # The graph is built with blank weights and statistics, which the file then replaces.
        graph = blank_graph(config, read_record(values["recipe"], EmbeddingOptions))
        graph.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        hint = "Check the files: sha256sum -c SHA256SUMS"
        raise ScannerError(ErrorCode.RELEASE_DAMAGED, f"{folder} is not a complete release: {error}.", hint) from error
    return graph


def release_config(folder: Path) -> Config:
    """Read the configuration of the last run that a release came of.

    Raises:
        ScannerError: ``config.bad``, or ``release.damaged`` if the folder does not say.
    """
    try:
        return Config.from_recorded(load_json(folder / CONFIG)["training"], str(folder / CONFIG))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{folder} is not a complete release: {error}."
        raise ScannerError(ErrorCode.RELEASE_DAMAGED, message, "Check the files: sha256sum -c SHA256SUMS") from error


def release_stages(folder: Path) -> list[dict[str, Any]]:
    """Describe the runs that a release came of, oldest first, as ``training.loop.checkpoint.stages`` does.

    A release of an early version lists only its own run.
    """
    values = load_json(folder / CONFIG)
    if "stages" in values:
        return list(values["stages"])
    return [describe_stage(release_config(folder), values["progress"], values["contract"]["weights_sha256"])]
