"""The same work as others do it: a PyTorch model fed by a DataLoader with cutouts that were cut beforehand.

The network is timm's vision transformer of the sizes found in the encoder's graph; its weights are random, which costs
the same time. Stretching is left out: it is in the encoder's graph, not here, to the advantage of this loop.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

HEAD = 64
"""Width of an attention head: that of ViT-Ti, S and B."""

BATCH, GPU_BATCH = 64, 512

Loop = Callable[[], None]


def missing() -> str:
    """What is not installed for these loops, if anything."""
    return ", ".join(name for name in ("torch", "timm") if find_spec(name) is None)


def sizes(path: Path) -> dict[str, int]:
    """Width, depth, heads, patch and bands of the transformer in an ONNX file."""
    graph = onnx.load(path).graph
    # Weights of the patch embedding have four axes: [width, bands, patch, patch].
    width, bands, patch, _ = next(tensor.dims for tensor in graph.initializer if len(tensor.dims) == 4)
    depth = sum(node.op_type == "Softmax" for node in graph.node)
    return {"width": width, "depth": depth, "heads": max(1, width // HEAD), "patch": patch, "bands": bands}


def macs(path: Path, window: int) -> int:
    """Multiplications, each with an addition, of a window's matrix products: patches, tokens by weights, attention."""
    of = sizes(path)
    patches, width = (window // of["patch"]) ** 2, of["width"]
    tokens = patches + 1
    embedding = patches * of["bands"] * of["patch"] ** 2 * width
    # A token takes 4 width^2 for the projections of attention and 8 width^2 for the two layers behind it. Attention
    # itself is two products of tokens with tokens.
    return embedding + of["depth"] * (12 * tokens * width**2 + 2 * tokens**2 * width)


def network(path: Path, window: int) -> Any:
    """timm's transformer of these sizes, in evaluation mode, with random weights."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(num_classes=0, global_pool="avg", **timm_sizes(path, window)).eval()


def timm_sizes(path: Path, window: int) -> dict[str, int]:
    """The same in timm's words."""
    of = sizes(path)
    return {
        "img_size": window, "patch_size": of["patch"], "in_chans": of["bands"], "embed_dim": of["width"],
        "depth": of["depth"], "num_heads": of["heads"],
    }  # fmt: skip


def loop(model: Any, flux: NDArray[np.float32], device: str, half: bool, workers: int) -> Loop:
    """Embed all of ``flux`` once: batches by ``workers`` processes (0: in this one), to ``device``, back as numpy."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    on_gpu = device != "cpu"
    loader = DataLoader(
        TensorDataset(torch.from_numpy(np.nan_to_num(flux))), batch_size=GPU_BATCH if on_gpu else BATCH,
        num_workers=workers, pin_memory=on_gpu, persistent_workers=workers > 0,
    )  # fmt: skip
    model = model.to(device)

    def run() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=half):
            for (batch,) in loader:
                model(batch.to(device, non_blocking=True)).float().cpu().numpy()

    return run


def compiled(model: Any) -> Any:
    """The network by torch.compile, which needs a C++ compiler on a CPU."""
    import torch

    return torch.compile(model)


def resident(model: Any, flux: NDArray[np.float32], device: str, compile_it: bool) -> Loop:
    """Embed all of ``flux`` in bf16 with the pixels on ``device`` already: the network's own speed, no loading."""
    import torch

    model = model.to(device)
    ran = torch.compile(model) if compile_it else model
    size = GPU_BATCH if device != "cpu" else BATCH
    pixels = torch.from_numpy(np.nan_to_num(flux)).to(device)

    def run() -> None:
        with torch.inference_mode(), torch.autocast(device.partition(":")[0], torch.bfloat16):
            for batch in pixels.split(size):
                output = ran(batch)
            output.float().cpu()  # waits for all of them

    return run
