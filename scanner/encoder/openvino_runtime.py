"""OpenVINO as a runtime of the encoder: the same file on the CPU, in fp32, int8 or bf16."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.encoder.buffers import INPUT, OUTPUT, SCORES, Encoded, pages
from scanner.encoder.options import BF16, INSTALL_OPENVINO
from scanner.system import processor
from scanner.system.signals import Interrupts

LEAST = (2026, 4)
"""Versions 2025.0 to 2026.0 give wrong embeddings for files in int8, others before this one were not tested."""

_FLOAT = "tensor(float)"  # as ONNX Runtime names it

Array = NDArray[np.float32]


def installed() -> str:
    """Version of the installed OpenVINO; empty where there is none."""
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return ""


def hint() -> str:
    """What installing OpenVINO would bring to this machine; empty where it is there, or has shown no great gain."""
    if installed() or not (instructions := processor.bf16()):
        return ""
    return (
        f"This processor has {instructions}, with which OpenVINO computes this model at least twice as fast in bf16: "
        f"{INSTALL_OPENVINO}, then --runtime openvino --precision bf16. scanner info --runtimes measures it."
    )


def load() -> Any:
    """The ``openvino`` module; ``runtime.missing``, ``runtime.old`` or ``runtime.broken`` where it cannot be used."""
    version = installed()
    if not version:
        raise ScannerError(ErrorCode.RUNTIME_MISSING, "OpenVINO is not installed.", INSTALL_OPENVINO)
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < LEAST:
        raise ScannerError(
            ErrorCode.RUNTIME_OLD,
            f"OpenVINO {version} is installed; version {'.'.join(map(str, LEAST))} or later is needed.",
            f"{INSTALL_OPENVINO} --upgrade",
        )
    # When OpenVINO is imported, this package would report that over the network and write to the home folder.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        # An interrupt in the middle of a compiled module would look like a broken installation.
        with Interrupts() as interrupts:
            import openvino
        interrupts.check()
        openvino.Core  # noqa: B018  (uninstalling may leave an empty package behind)
    except (ImportError, AttributeError) as error:
        raise ScannerError(
            ErrorCode.RUNTIME_BROKEN,
            f"OpenVINO {version} is installed but cannot be imported: {error}.",
            f"{INSTALL_OPENVINO} --force-reinstall",
        ) from error
    return openvino


class OpenVinoModel:
    """A model file that OpenVINO has compiled for the CPU; see ``scanner.encoder.runtime.OpenModel``.

    ``rows`` are fixed in the graph: kernels are chosen for them, and in bf16 another number gives other vectors.
    ``threads`` streams of one thread each work for as many callers.

    Raises:
        ScannerError: ``runtime.*``, ``device.precision`` (the processor has no bf16), ``model.unreadable``.
    """

    on_cpu = True

    def __init__(self, path: Path, precision: str, threads: int, rows: int) -> None:
        openvino = load()
        # Without the instructions OpenVINO emulates bf16, or falls back to fp32 without a word.
        if precision == BF16 and processor.bf16() == "":
            raise _no_bf16()
        self.rows = rows
        self.software = f"OpenVINO {installed()}"
        self.provider = f"{self.software}, {processor.describe()}"
        self._openvino = openvino
        try:
            core = _core()
            model = core.read_model(str(path))
            (flux,) = model.inputs
            model.reshape([rows, *list(flux.partial_shape)[1:]])
            self._compiled = core.compile_model(model, "CPU", _properties(precision, threads))
        except Exception as error:  # the binding raises RuntimeError for all, and others for what it cannot convert
            raise ScannerError(
                ErrorCode.MODEL_UNREADABLE,
                f"{path} is not a model that {self.software} can read: {_first_line(error)}",
                "Leave out --runtime openvino: ONNX Runtime may read it.",
            ) from error
        if precision == BF16 and self._compiled.get_property("INFERENCE_PRECISION_HINT") != openvino.Type.bf16:
            raise _no_bf16()

    @property
    def nodes(self) -> dict[str, tuple[str, list[Any]]]:
        nodes = {}
        for port in (*self._compiled.inputs, *self._compiled.outputs):
            kind, names = port.element_type.get_type_name(), port.get_names()
            # Operators that change nothing are taken out, and the port keeps the names of all of them.
            name = next((one for one in (INPUT, OUTPUT, SCORES) if one in names), port.any_name)
            nodes[name] = _FLOAT if kind == "f32" else kind, list(port.shape)
        return nodes

    @property
    def placement(self) -> dict[str, set[str]]:
        return {}

    def binding(self, shape: tuple[int, int, int], dim: int, scores: int) -> OpenVinoBinding:
        return OpenVinoBinding(self._openvino, self._compiled.create_infer_request(), self.rows, shape, dim, scores)


class OpenVinoBinding:
    """Buffers of one caller, as ``scanner.encoder.buffers.Binding`` has them; OpenVINO computes in threads of its own.

    The caller waits meanwhile, without Python's lock.
    """

    page_locked = False

    def __init__(
        self, openvino: Any, request: Any, rows: int, shape: tuple[int, int, int], dim: int, scores: int
    ) -> None:
        self.flux = pages(rows, *shape)
        self._request, self._results = request, Encoded(pages(rows, dim), pages(rows, scores))
        request.set_tensor(INPUT, openvino.Tensor(self.flux, shared_memory=True))
        for name, buffer in zip((OUTPUT, SCORES), self._results, strict=True):
            if buffer.size:
                request.set_tensor(name, openvino.Tensor(buffer, shared_memory=True))

    def run(self, flux: Array) -> Encoded:
        rows = len(flux)
        if flux.ctypes.data != self.flux.ctypes.data or not flux.flags.c_contiguous or flux.dtype != np.float32:
            self.flux[:rows] = flux
        self.flux[rows:] = 0
        self._request.infer()
        return Encoded(*(buffer[:rows].copy() for buffer in self._results))


@functools.cache
def _core() -> Any:
    """Return the core of this process, which lives as long as the process does.

    Its CPU plugin gives the thread that loads it a stack for signals, and takes it back in the same thread only: after
    another one has dropped the last reference, any signal would end the process with a segmentation fault.
    """
    openvino = load()
    core = openvino.Core()
    for extension in _reductions(openvino):
        core.add_extension(extension)
    return core


def _reductions(openvino: Any) -> list[Any]:
    """Converters of the reductions whose axes OpenVINO ignores in operator sets 13 to 17, where they are an attribute.

    It would add up the whole batch, so that a score depended on its neighbours.

    Source: https://github.com/openvinotoolkit/openvino/issues/38238
    """
    from openvino import opset13 as ops
    from openvino.frontend.onnx import ConversionExtension

    def parts(node: Any) -> tuple[Any, Any, bool]:
        """The tensor, the axes, and whether they are kept."""
        # From operator set 18, axes are an input. Without any, the rows of a batch would be mixed: that is refused.
        axes = node.get_input(1) if node.get_input_size() > 1 else ops.constant(node.get_attribute("axes"), np.int64)
        return node.get_input(0), axes, bool(node.get_attribute("keepdims", 1))

    def l1(node: Any) -> list[Any]:
        x, axes, keep = parts(node)
        return [ops.reduce_sum(ops.abs(x), axes, keep).output(0)]

    def log_sum(node: Any) -> list[Any]:
        x, axes, keep = parts(node)
        return [ops.log(ops.reduce_sum(x, axes, keep)).output(0)]

    def log_sum_exp(node: Any) -> list[Any]:
        x, axes, keep = parts(node)
        # The largest is taken out first, since exp overflows from 89 on.
        total = ops.reduce_sum(ops.exp(ops.subtract(x, ops.reduce_max(x, axes, True))), axes, keep)
        return [ops.add(ops.log(total), ops.reduce_max(x, axes, keep)).output(0)]

    converters = {"ReduceL1": l1, "ReduceLogSum": log_sum, "ReduceLogSumExp": log_sum_exp}
    return [ConversionExtension(*converter) for converter in converters.items()]


def _properties(precision: str, threads: int) -> dict[str, Any]:
    return {
        # By default OpenVINO takes bf16 wherever the processor has it. In int8, what is not quantised is fp32.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == BF16 else "f32",
        # A stream of one thread for each caller: measured faster than one stream of several threads.
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": str(threads),
        "INFERENCE_NUM_THREADS": str(threads),
        # Two scans on one machine would pin their streams to the same cores.
        "ENABLE_CPU_PINNING": False,
    }


def _first_line(error: Exception) -> str:
    """What an exception of OpenVINO says, without the place in its source: that is in the first lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[0][:300].rstrip(".") + "."


def _no_bf16() -> ScannerError:
    return ScannerError(
        ErrorCode.DEVICE_PRECISION,
        f"This processor has no instructions for bf16: {processor.describe()}.",
        "Say --precision int8, or fp32; scanner info --runtimes measures what is fastest here.",
    )
