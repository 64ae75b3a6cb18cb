"""ONNX Runtime as it is installed here: which package, which device, and a session that runs where it was asked to."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catalogs.errors import ScannerError

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
DEVICES = "auto, cpu, cuda, cuda:N or tensorrt"
INSTALL_CUDA = "pip install 'unions-scanner[cuda]'"

_ERROR, _FATAL = 3, 4  # ONNX Runtime's levels of logging

log = logging.getLogger(__name__)


def load() -> Any:
    """The ``onnxruntime`` module; ``runtime.missing`` or ``runtime.broken`` where it cannot be used."""
    try:
        import onnxruntime
    except ImportError as error:
        installed = ", ".join(distributions())
        if installed:
            raise ScannerError(
                "runtime.broken", f"{installed} is installed but cannot be imported: {error}."
            ) from error
        raise ScannerError(
            "runtime.missing",
            "ONNX Runtime is not installed.",
            "pip install onnxruntime-gpu (Linux, Windows) or onnxruntime (macOS); not both.",
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):  # what uninstalling one of two overlapping packages leaves behind
        raise ScannerError("runtime.broken", "The installed ONNX Runtime is incomplete.", _reinstall())
    return onnxruntime


def distributions() -> list[str]:
    """Names of the installed packages that own the module ``onnxruntime``."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def open_session(path: Path, device: str) -> tuple[Any, str]:
    """A session on ``device`` and the name of the provider that really runs it.

    ``auto`` is CUDA where there is a GPU that works, else the CPU. Raises ``ScannerError`` ``device.unknown``,
    ``device.unavailable`` (asked for a GPU that did not come), ``model.unreadable``.
    """
    runtime = load()
    if len(distributions()) > 1:
        log.warning("onnxruntime and onnxruntime-gpu are both installed: %s", _reinstall())
    if device == "auto":
        return _automatic(runtime, path)
    if device == "cpu":
        return _session(runtime, path, [CPU]), CPU
    providers = _gpu_providers(device)
    wanted = providers[0][0]
    if wanted not in runtime.get_available_providers():
        raise _unavailable(device, f"this ONNX Runtime has no {wanted}")
    with _overheard(runtime) as said:
        if hasattr(runtime, "preload_dlls"):  # the CUDA libraries of the environment's own wheels
            runtime.preload_dlls()
        session = _session(runtime, path, [*providers, CPU])
    # ONNX Runtime falls back to the CPU: only the session itself knows.
    if wanted not in session.get_providers():
        why = said.getvalue().strip().partition("\n")[0] or "its libraries did not load, or there is no such GPU"
        raise _unavailable(device, why.rstrip("."))
    return session, wanted


def gpu_count() -> int:
    """Number of NVIDIA GPUs that the driver reports; 0 without a driver. Loads no CUDA runtime."""
    if sys.platform == "darwin":
        return 0
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    ready = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if ready else 0


def _automatic(runtime: Any, path: Path) -> tuple[Any, str]:
    if gpu_count():
        try:
            return open_session(path, "cuda")
        except ScannerError as error:
            if error.code != "device.unavailable":
                raise
            log.warning("A GPU is here but is not used: %s %s", error.message, error.hint)
    return _session(runtime, path, [CPU]), CPU


def _gpu_providers(device: str) -> list[tuple[str, dict[str, Any]]]:
    name, _, number = device.partition(":")
    if name not in ("cuda", "tensorrt") or (number and not number.isdecimal()) or device.endswith(":"):
        raise ScannerError("device.unknown", f"There is no device {device!r}.", f"Choose {DEVICES}.")
    # TF32 would make "fp32" on a GPU something else than on a CPU.
    cuda = (CUDA, {"device_id": int(number or 0), "use_tf32": 0})
    tensorrt = (TENSORRT, {"device_id": int(number or 0)})
    return [cuda] if name == "cuda" else [tensorrt, cuda]


@contextlib.contextmanager
def _overheard(runtime: Any) -> Iterator[io.StringIO]:
    """Keep what ONNX Runtime prints to stdout, and silence its log: what matters of it goes into one error."""
    said = io.StringIO()
    runtime.set_default_logger_severity(_FATAL)
    try:
        with contextlib.redirect_stdout(said):
            yield said
    finally:
        runtime.set_default_logger_severity(_ERROR)


def _session(runtime: Any, path: Path, providers: list[Any]) -> Any:
    options = runtime.SessionOptions()
    # One thread a call and as many callers as cores: faster than ONNX Runtime's own pool, and bit-stable.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the binding raises a class of its own for each status code
        if isinstance(providers[0], tuple) and "Provider" in str(error):
            raise _unavailable(providers[0][0], str(error).splitlines()[0]) from error
        raise ScannerError(
            "model.unreadable",
            f"{path} is not a model that ONNX Runtime can read: {str(error).splitlines()[0]}",
            "Give an encoder.onnx, as python -m export writes it, or the name of a shipped model.",
        ) from error


def _unavailable(device: str, why: str) -> ScannerError:
    hint = f"{INSTALL_CUDA}, or --device cpu."
    if len(distributions()) > 1:
        hint = _reinstall()
    return ScannerError("device.unavailable", f"Device {device} cannot be used: {why}.", hint)


def _reinstall() -> str:
    return (
        f"Installed: {' and '.join(distributions()) or 'nothing'}. Together they break each other: "
        f"pip uninstall onnxruntime onnxruntime-gpu, then {INSTALL_CUDA}."
    )
