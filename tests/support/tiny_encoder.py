"""A real but small encoder, written as an ONNX graph: stretch, patches, one transformer block, mean, unit length.

If its contract has scores, a linear layer on the mean gives them, less a normalisation as that of log-odds.

Its weights come from a seed, so its vectors mean nothing; its kernels are those of a trained one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from catalogs.store.scores import Scores
from scanner.encoder.contract import CONTRACT_KEY, Contract

SCORES = Scores(("lens", "ring"), prevalence=0.001, population="Made-up cutouts.")


def contract(
    bands: str = "ugriz", window: int = 32, dim: int = 48, pixel_scale: float = 0.18577, scores: Scores | None = None
) -> Contract:
    return Contract(
        bands=tuple(bands),
        pixel_scale=pixel_scale,
        window=window,
        embedding_dim=dim,
        pooling="mean",
        stretch={"name": "asinh", "scale": 50.0},
        weights_sha256="0" * 64,
        training_run="made for a test",
        licence="BSD-3-Clause",
        scores=scores,
    )


def write(path: Path, like: Contract, *, width: int = 64, seed: int = 1, metadata: str | None = None) -> Path:
    """Write the encoder of a contract to ``path``; ``metadata`` replaces the contract's JSON ("" leaves it out)."""
    graph = _Graph(seed)
    _stretch(graph)
    _tokens(graph, len(like.bands), width, like.window // 8)
    _block(graph, width)
    _pool(graph, width, like.embedding_dim)
    size = like.window
    flux = helper.make_tensor_value_info("flux", TensorProto.FLOAT, ["N", len(like.bands), size, size])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", like.embedding_dim])
    outputs = [embedding]
    if like.scores is not None:
        outputs.append(_score(graph, width, len(like.scores.names)))
    built = helper.make_graph(graph.nodes, "encoder", [flux], outputs, graph.weights)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    text = like.to_json() if metadata is None else metadata
    if text:
        helper.set_model_props(model, {CONTRACT_KEY: text})
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


class _Graph:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, op: str, inputs: str, output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs.split(), output.split(), **attributes))

    def constant(self, name: str, value: Any, kind: Any = np.float32) -> None:
        self.weights.append(numpy_helper.from_array(np.asarray(value, kind), name))

    def weight(self, name: str, *shape: int) -> None:
        self.constant(name, self.random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape))


def _stretch(graph: _Graph) -> None:
    """Gaps to 0, then asinh(flux / 50 nJy) as sign(x) log(|x| + sqrt(x^2 + 1))."""
    for name, value in (("zero", 0.0), ("one", 1.0), ("scale", 1 / 50.0)):
        graph.constant(name, value)
    graph.add("IsNaN", "flux", "gap")
    graph.add("Where", "gap zero flux", "filled")
    graph.add("Mul", "filled scale", "x")
    graph.add("Mul", "x x", "x2")
    graph.add("Add", "x2 one", "x21")
    graph.add("Sqrt", "x21", "root")
    graph.add("Abs", "x", "size")
    graph.add("Add", "size root", "sum")
    graph.add("Log", "sum", "log")
    graph.add("Sign", "x", "sign")
    graph.add("Mul", "sign log", "stretched")


def _tokens(graph: _Graph, bands: int, width: int, side: int) -> None:
    graph.weight("patch_weight", width, bands, 8, 8)
    graph.weight("position", side * side, width)
    graph.constant("token_shape", [0, width, side * side], np.int64)
    graph.add("Conv", "stretched patch_weight", "patches", kernel_shape=[8, 8], strides=[8, 8])
    graph.add("Reshape", "patches token_shape", "flat")
    graph.add("Transpose", "flat", "bare", perm=[0, 2, 1])
    graph.add("Add", "bare position", "tokens")


def _block(graph: _Graph, width: int) -> None:
    for name in ("query", "key", "value", "join"):
        graph.weight(f"{name}_weight", width, width)
    graph.weight("up", width, 4 * width)
    graph.weight("down", 4 * width, width)
    graph.constant("gain", np.ones(width))
    graph.constant("root_width", np.sqrt(width))
    graph.constant("root_two", np.sqrt(2))
    graph.constant("half", 0.5)
    graph.add("LayerNormalization", "tokens gain", "normal", axis=-1)
    for name in ("query", "key", "value"):
        graph.add("MatMul", f"normal {name}_weight", name)
    graph.add("Transpose", "key", "key_t", perm=[0, 2, 1])
    graph.add("MatMul", "query key_t", "products")
    graph.add("Div", "products root_width", "logits")
    graph.add("Softmax", "logits", "attention", axis=-1)
    graph.add("MatMul", "attention value", "mixed")
    graph.add("MatMul", "mixed join_weight", "joined")
    graph.add("Add", "tokens joined", "middle")
    graph.add("LayerNormalization", "middle gain", "middle_normal", axis=-1)
    graph.add("MatMul", "middle_normal up", "wide")
    graph.add("Div", "wide root_two", "wide_scaled")
    graph.add("Erf", "wide_scaled", "erf")
    graph.add("Add", "erf one", "erf_one")
    graph.add("Mul", "wide erf_one", "gelu_double")
    graph.add("Mul", "gelu_double half", "gelu")
    graph.add("MatMul", "gelu down", "narrow")
    graph.add("Add", "middle narrow", "out")


def _pool(graph: _Graph, width: int, dim: int) -> None:
    graph.weight("head", width, dim)
    graph.add("ReduceMean", "out", "pooled", axes=[1], keepdims=0)
    graph.add("MatMul", "pooled head", "raw")
    graph.add("LpNormalization", "raw", "embedding", axis=1, p=2)


def _score(graph: _Graph, width: int, count: int) -> Any:
    graph.weight("score_weight", width, count)
    graph.constant("score_offset", -3.0)
    graph.add("MatMul", "pooled score_weight", "score_raw")
    graph.add("ReduceLogSumExp", "pooled", "score_norm", axes=[1], keepdims=1)
    graph.add("Sub", "score_raw score_norm", "score_odds")
    graph.add("Add", "score_odds score_offset", "scores")
    return helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", count])
