"""What number formats, graph optimisation and threads are worth: speed against fp32 as shipped, in turns, and fidelity.

All variants embed the same windows. Fidelity is that of ``export.precision``: cosine with fp32 after the mean is taken
out, and the share of ten nearest neighbours in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bench.encoder import torch_loop
from bench.encoder.encoder import FEW_IMAGES, IMAGES, windows
from bench.harness.setup import Setup
from bench.harness.timing import cost, in_turns, median_ratio, middle
from export.int8 import add_gaps, block_products, quantise, quiet
from scanner.encoder import session
from scanner.encoder.agreement import agree
from scanner.encoder.contract import of_precision
from scanner.encoder.encoder import Encoder
from scanner.encoder.runtime import CPU_BATCH

Vectors = NDArray[np.float32]
Embed = Callable[[Vectors], Vectors]

SHIPPED = "fp32"
LEVELS = {"fp32, graph as exported": "ORT_DISABLE_ALL", "fp32, basic fusions": "ORT_ENABLE_BASIC"}


def measure(setup: Setup) -> dict[str, Any]:
    """Rows of ``formats``; ``vs_fp32`` is how many times faster one is than the shipped layout, a caller a core."""
    with Encoder(setup.model, device="cpu") as shipped:
        contract, path, threads = shipped.contract, shipped.path, shipped.threads
    flux = windows(setup, contract, FEW_IMAGES if setup.quick else IMAGES)
    with setup.scratch() as folder:
        variants = dict(_variants(path, folder, flux, threads))
        vectors = {name: embed(flux) for name, embed in variants.items()}  # and so they are warm
        works = {name: partial(cost, partial(embed, flux)) for name, embed in variants.items()}
        costs = in_turns(works, setup.runs)
    rows = []
    for name, turns in costs.items():
        fidelity = agree(vectors[SHIPPED], vectors[name])
        rows.append(
            {
                "variant": name,
                "images_per_s": len(flux) / middle(turns).wall,
                "vs_fp32": median_ratio(turns, costs[SHIPPED]),
                "cpu_s_per_1000": 1000 * middle(turns).per(len(flux)).cpu,
                "centred_cosine": fidelity.centred_cosine,
                "least": fidelity.least_centred_cosine,
                "overlap": fidelity.neighbour_overlap,
            }
        )
    return {"formats": rows}


def _variants(path: Path, folder: Path, flux: Vectors, threads: int) -> Iterator[tuple[str, Embed]]:
    yield SHIPPED, partial(_embed, cpu_session(path), threads)
    if threads > 1:
        yield f"fp32, {threads} threads inside", partial(_embed, cpu_session(path, inside=threads), 1)
        yield "fp32, one thread", partial(_embed, cpu_session(path), 1)
    for name, level in LEVELS.items():
        yield name, partial(_embed, cpu_session(path, level=level), threads)
    for name, model in _files(path, folder, flux):
        yield name, partial(_embed, cpu_session(model), threads)


def _files(path: Path, folder: Path, flux: Vectors) -> Iterator[tuple[str, Path]]:
    """Files of other formats: those beside the model, and those that can be made of it here."""
    if (half := of_precision(path, "fp16")).is_file():
        yield "fp16", half
    model = onnx.load(path)
    if not block_products(model):  # not a transformer of python -m export
        return
    if (merged := _fused_attention(path, folder, torch_loop.sizes(path))) is not None:
        yield "fp32, onnxruntime.transformers", merged
    small = of_precision(path, "int8")
    if not small.is_file():
        small = folder / "int8.onnx"
        onnx.save(quantise(path, add_gaps(flux[::4])), small)
    yield "int8", small
    yield "int8, scaled batch by batch", _dynamic(path, folder, model)


def _dynamic(path: Path, folder: Path, model: onnx.ModelProto) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    made = folder / "dynamic.onnx"
    with quiet():
        quantize_dynamic(
            path, made, per_channel=True, op_types_to_quantize=["MatMul"], nodes_to_quantize=block_products(model),
            weight_type=QuantType.QInt8,
        )  # fmt: skip
    return made


def _fused_attention(path: Path, folder: Path, of: dict[str, int]) -> Path | None:
    """ONNX Runtime's offline fusions for transformers; None where they are not installed."""
    try:
        from onnxruntime.transformers.optimizer import optimize_model
    except ImportError:
        return None
    made = folder / "fused.onnx"
    model = optimize_model(str(path), model_type="vit", num_heads=of["heads"], hidden_size=of["width"], opt_level=0)
    model.save_model_to_file(str(made))
    return made


def cpu_session(path: Path, level: str = "ORT_ENABLE_ALL", inside: int = 1) -> Any:
    """A session on the CPU with ``inside`` threads of its own."""
    loaded = session.load()
    options = loaded.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = inside, 1, 3
    options.graph_optimization_level = getattr(loaded.GraphOptimizationLevel, level)
    return loaded.InferenceSession(str(path), options, providers=[session.CPU])


def _embed(running: Any, callers: int, flux: Vectors) -> Vectors:
    def one(start: int) -> Vectors:
        vectors: Vectors = running.run(["embedding"], {"flux": flux[start : start + CPU_BATCH]})[0]
        return vectors

    with ThreadPoolExecutor(callers) as pool:
        return np.concatenate(list(pool.map(one, range(0, len(flux), CPU_BATCH))))
