"""Runtimes and precisions that can be asked for, and which of them go together. Light: the command line imports it."""

from __future__ import annotations

from catalogs.errors import ErrorCode, ScannerError

RUNTIMES = ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
FORMATS = FP32, INT8, FP16 = "fp32", "int8", "fp16"
"""Number formats of the weights in a file."""

BF16 = "bf16"
PRECISIONS = (*FORMATS, BF16)
"""What a runtime can compute in; bf16 is computed from the file in fp32."""

INSTALL_OPENVINO = "pip install 'unions-scanner[openvino]'"


def file_format(precision: str | None) -> str | None:
    """Number format of the file that a precision is computed from; None for that of whatever file is given."""
    return FP32 if precision == BF16 else precision


def cpu_only(runtime: str, precision: str | None) -> bool:
    """Whether the encoder runs on the CPU whatever else is there: OpenVINO does, and 8-bit products."""
    return runtime == OPENVINO or precision in (INT8, BF16)


def check(runtime: str, precision: str | None, device: str = "auto") -> None:
    """Refuse what does not go together; None stands for the precision of the file.

    Raises:
        ScannerError: ``runtime.unknown``, ``device.precision``, ``device.unavailable``.
    """
    if runtime not in RUNTIMES:
        raise ScannerError(
            ErrorCode.RUNTIME_UNKNOWN, f"There is no runtime {runtime!r}.", f"Choose one of {', '.join(RUNTIMES)}."
        )
    if precision == BF16 and runtime != OPENVINO:
        raise ScannerError(
            ErrorCode.DEVICE_PRECISION,
            "bf16 needs OpenVINO: ONNX Runtime computes no bf16 on a CPU.",
            f"Add --runtime openvino ({INSTALL_OPENVINO}).",
        )
    if runtime == OPENVINO and precision == FP16:
        raise ScannerError(
            ErrorCode.DEVICE_PRECISION,
            "OpenVINO computes on the CPU here, and fp16 is for GPUs.",
            "Say --precision bf16, or fp32; or leave out --runtime openvino.",
        )
    if runtime == OPENVINO and device not in ("auto", "cpu"):
        raise ScannerError(
            ErrorCode.DEVICE_UNAVAILABLE,
            f"Device {device} cannot be used: OpenVINO computes on the CPU here.",
            "Leave out --runtime openvino for a GPU, or say --device cpu.",
        )
