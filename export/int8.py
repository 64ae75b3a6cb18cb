r"""The encoder with the matrix products of its blocks in 8 bits, the fastest format of a CPU.

Weights have 7 bits and one scale a column; activations have 8 bits and one scale a product, which is determined on
calibration cutouts. With a scale of each batch ("dynamic" quantisation) the embedding of an object would depend on its
batch. With 8 bits of weights it would depend on the processor, since without VNNI sums of two products saturate at 16
bits. Attention, stretch, patches, pooling, projection and the score head stay in float32.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.precision import write_format
from scanner.encoder.agreement import Agreement, Vectors
from scanner.encoder.contract import Contract

BATCH = 16
MICROSOFT = "com.microsoft"


def export_int8(full: Path, contract: Contract, out: Path, calibration: Vectors, flux: Vectors) -> Agreement:
    """Write ``out``, the float32 file ``full`` in 8 bits, if what it gives for ``flux`` [N, B, S, S] agrees.

    ``calibration`` [M, B, S, S] are other cutouts.

    Raises:
        ScannerError: ``export.precision``.
    """
    # Scales must also suit cutouts with missing bands and pixels, so the calibration has some.
    return write_format(quantise(full, add_gaps(calibration)), "int8", contract, out, full, flux)


def quantise(full: Path, calibration: Vectors) -> onnx.ModelProto:
    """Quantise the products of ``full`` to 8 bits, with activations scaled to their range on ``calibration``."""
    with TemporaryDirectory() as folder, quiet():
        made = Path(folder) / "int8.onnx"
        # The results of products stay in float32, so that one node can replace a product and its bias.
        quantize_static(
            full, made, _Windows(calibration), quant_format=QuantFormat.QDQ, per_channel=True,
            reduce_range=True, op_types_to_quantize=["MatMul"], nodes_to_quantize=block_products(onnx.load(full)),
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )  # fmt: skip
        return fuse_products(onnx.load(made))


def block_products(model: onnx.ModelProto) -> list[str]:
    """List the products of tokens [N, T, D] and weights.

    Those of pooled vectors [N, D], among them the score head's, lie outside the encoder.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    # Products of two activations, as of queries and keys, have no weights and stay in float32.
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    return [node.name for node in products if node.name.startswith("/encoder/blocks")]


def add_gaps(flux: Vectors) -> Vectors:
    """Take a band from every third cutout and some pixels from another third, as in surveys."""
    random, flux = np.random.default_rng(0), flux.copy()
    for row in range(0, len(flux), 3):
        flux[row, random.integers(flux.shape[1])] = np.nan
    for row in range(1, len(flux), 3):
        flux[row][random.random(flux.shape[1:]) < random.random()] = np.nan
    return flux


def fuse_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace each product of two dequantised tensors, and the bias added to it, by one node of ONNX Runtime.

    ONNX Runtime fuses most of this itself, but adds biases in separate passes and dequantises whole activations to
    read their shape.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name for tensor in graph.initializer}
    removed: set[int] = set()
    for node in graph.node:
        pair = [makers.get(name) for name in node.input]
        # A product that was not quantised has no DequantizeLinear before it and stays as it is.
        if node.op_type != "MatMul" or any(x is None or x.op_type != "DequantizeLinear" for x in pair):
            continue
        left, right = pair
        # The bias is a weight that is added to the result of the product.
        adding = [user for user in _users(graph, node.output[0]) if user.op_type == "Add"]
        bias = [name for user in adding for name in user.input if name in weights]
        for user in _users(graph, left.output[0]):  # shapes are read from the quantised tensor
            _renamed(user.input, left.output[0], makers[left.input[0]].input[0])
        node.op_type, node.domain = "MatMulIntegerToFloat", MICROSOFT
        # Inputs in the order of the operator: A, B, their scales, their zero points, and the bias if there is one.
        node.input[:] = [x.input[place] for place in range(3) for x in (left, right)] + bias
        if bias:
            node.output[:] = adding[0].output
        removed |= {id(left), id(right), *(id(user) for user in adding if bias)}
    nodes = [node for node in graph.node if id(node) not in removed]
    tensors = sorted(graph.initializer, key=lambda tensor: tensor.name)
    # `value_info` may describe tensors that are gone.
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)
    # The new nodes belong to ONNX Runtime, not to the ONNX standard, and need its operator set.
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return model


def _users(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if name in node.input]


def _renamed(names: list[str], old: str, new: str) -> None:
    names[:] = [new if name == old else name for name in names]


class _Windows(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, flux: Vectors) -> None:
        self._batches: Iterator[Mapping[str, Vectors]] = (
            {"flux": flux[start : start + BATCH]} for start in range(0, len(flux), BATCH)
        )

    def get_next(self) -> Mapping[str, Vectors] | None:
        return next(self._batches, None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the root logger, which recommends a pre-processing that this graph does not need."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
