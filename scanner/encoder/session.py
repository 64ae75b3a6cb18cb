"""ONNX Runtime as it is installed: its package, the devices, and sessions that run on the requested one."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from catalogs.errors import ErrorCode, ScannerError
from scanner.system.signals import Interrupts

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "tensorrt")
INSTALL_CUDA = "pip install 'unions-scanner[cuda]'"

_ERROR, _FATAL = 3, 4  # ONNX Runtime's levels of logging

log = logging.getLogger(__name__)


def load() -> Any:
    """The ``onnxruntime`` module; ``runtime.missing`` or ``runtime.broken`` where it cannot be used."""
    try:
        # An interrupt in the middle of a compiled module would look like a broken installation.
        with Interrupts() as interrupts:
            import onnxruntime
        interrupts.check()
    except ImportError as error:
        installed = ", ".join(distributions())
        if installed:
            raise ScannerError(
                ErrorCode.RUNTIME_BROKEN, f"{installed} is installed but cannot be imported: {error}."
            ) from error
        raise ScannerError(
            ErrorCode.RUNTIME_MISSING,
            "ONNX Runtime is not installed.",
            "pip install onnxruntime-gpu (Linux, Windows) or onnxruntime (macOS); not both.",
        ) from error
    # Uninstalling one of two overlapping packages leaves an empty module.
    if not hasattr(onnxruntime, "InferenceSession"):
        raise ScannerError(ErrorCode.RUNTIME_BROKEN, "The installed ONNX Runtime is incomplete.", _reinstall())
    return onnxruntime


def distributions() -> list[str]:
    """Names of the installed packages that provide the module ``onnxruntime``."""
    names = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        names.append(name)
    return names


def open_session(
    path: Path,
    device: str,
    rows: Callable[[str], int] | None = None,
    optimise: bool = True,
) -> tuple[Any, str]:
    """A session on ``device``, and the name of the provider that runs it.

    ``auto`` is CUDA where there is a GPU that works, else the CPU. ``rows`` gives the rows of a batch for a provider:
    on a GPU the graph is fixed to them, because operators that ask for a shape would run on the CPU. ``optimise``:
    False to read a file only.

    Raises:
        ScannerError: ``device.unknown``, ``device.unavailable`` (there is no such GPU, or it does not work),
            ``model.unreadable``.
    """
    runtime = load()
    if len(distributions()) > 1:
        log.warning("onnxruntime and onnxruntime-gpu are both installed: %s", _reinstall())
    if device == "auto":
        return _automatic(runtime, path, rows)
    if device == "cpu":
        return _session(runtime, path, [CPU], _options(runtime, None, optimise)), CPU
    providers = gpu_providers(device, path.stem.endswith("_fp16"))
    wanted = providers[0][0]
    if wanted not in runtime.get_available_providers():
        raise _unavailable(device, f"this ONNX Runtime has no {wanted}")
    if wanted == TENSORRT:
        engines().mkdir(parents=True, exist_ok=True)
    with _output_of(runtime) as output:
        # Load the CUDA libraries of the environment's own wheels.
        if hasattr(runtime, "preload_dlls"):
            runtime.preload_dlls()
        options = _options(runtime, rows(wanted) if rows else None, optimise)
        session = _session(runtime, path, [*providers, CPU], options)
    # ONNX Runtime falls back to the CPU: only the session itself knows.
    if wanted not in session.get_providers():
        why = output.getvalue().strip().partition("\n")[0] or "its libraries did not load, or there is no such GPU"
        raise _unavailable(device, why.rstrip("."))
    if on_cpu := placement(session).get(CPU):
        log.warning("Some operators run on the CPU, not on %s, which is slow: %s.", device, ", ".join(sorted(on_cpu)))
    return session, wanted


def place(session: Any, provider: str) -> tuple[str, int]:
    """Device of a session's buffers, as ONNX Runtime names it: ``("cpu", 0)``, ``("cuda", 1)``."""
    if provider == CPU:
        return "cpu", 0
    return "cuda", int(session.get_provider_options()[provider].get("device_id", 0))


def placement(session: Any) -> dict[str, set[str]]:
    """Operators of a GPU's session by the provider that runs them; empty where this ONNX Runtime cannot list them."""
    operators: dict[str, set[str]] = {}
    if hasattr(session, "get_provider_graph_assignment_info"):
        for part in session.get_provider_graph_assignment_info():
            operators.setdefault(part.ep_name, set()).update(node.op_type for node in part.get_nodes())
    return operators


def driver() -> Any | None:
    """NVIDIA's driver, initialised; None where there is none. Loads no CUDA runtime."""
    if sys.platform == "darwin":
        return None
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return library if library.cuInit(0) == 0 else None


def gpu_count() -> int:
    """Number of NVIDIA GPUs that the driver reports; 0 without a driver."""
    count, library = ctypes.c_int(0), driver()
    if library is None or library.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def _automatic(runtime: Any, path: Path, rows: Callable[[str], int] | None) -> tuple[Any, str]:
    if gpu_count():
        try:
            return open_session(path, "cuda", rows)
        except ScannerError as error:
            if error.code != ErrorCode.DEVICE_UNAVAILABLE:
                raise
            log.warning("A GPU is here but is not used: %s %s", error.message, error.hint)
    return _session(runtime, path, [CPU], _options(runtime, None, True)), CPU


def gpu_providers(device: str, half: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Providers of a GPU with their options, the wanted one first; ``half``: for a float16 file. ``device.unknown``."""
    name, _, number = device.partition(":")
    if name not in ("cuda", "tensorrt") or (number and not number.isdecimal()) or device.endswith(":"):
        hint = f"Choose one of {', '.join(DEVICES)}."
        raise ScannerError(ErrorCode.DEVICE_UNKNOWN, f"There is no device {device!r}.", hint)
    place = {"device_id": int(number or 0)}
    # TF32 would make "fp32" on a GPU less exact than on a CPU. Memory grows by what is needed: others share the GPU.
    cuda = (CUDA, {**place, "use_tf32": 0, "arena_extend_strategy": "kSameAsRequested"})
    # Engines take minutes to build, so they are cached for the next scan.
    cache = {"trt_engine_cache_enable": True, "trt_timing_cache_enable": True, "trt_engine_cache_path": str(engines())}
    tensorrt = (TENSORRT, {**place, **cache, "trt_fp16_enable": half, "trt_timing_cache_path": str(engines())})
    return [cuda] if name == "cuda" else [tensorrt, cuda]


def engines() -> Path:
    """Cache folder for TensorRT engines."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "unions-scanner" / "tensorrt"


@contextlib.contextmanager
def _output_of(runtime: Any) -> Iterator[io.StringIO]:
    """Capture what ONNX Runtime prints to stdout, and silence its log: what matters goes into one error."""
    output = io.StringIO()
    runtime.set_default_logger_severity(_FATAL)
    try:
        with contextlib.redirect_stdout(output):
            yield output
    finally:
        runtime.set_default_logger_severity(_ERROR)


def _options(runtime: Any, rows: int | None, optimise: bool) -> Any:
    options = runtime.SessionOptions()
    # One thread per call and one caller per core: faster than ONNX Runtime's own pool, and reproducible to the bit.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    if not optimise:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if rows is not None:
        options.add_free_dimension_override_by_name("N", rows)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _session(runtime: Any, path: Path, providers: list[Any], options: Any) -> Any:
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the binding raises a class of its own for each status code
        if isinstance(providers[0], tuple) and "Provider" in str(error):
            raise _unavailable(providers[0][0], str(error).splitlines()[0]) from error
        raise ScannerError(
            ErrorCode.MODEL_UNREADABLE,
            f"{path} is not a model that ONNX Runtime can read: {str(error).splitlines()[0]}",
            "Give an encoder.onnx, as python -m export writes it, or the name of a shipped model.",
        ) from error


def _unavailable(device: str, why: str) -> ScannerError:
    hint = f"{INSTALL_CUDA}, or --device cpu."
    if len(distributions()) > 1:
        hint = _reinstall()
    return ScannerError(ErrorCode.DEVICE_UNAVAILABLE, f"Device {device} cannot be used: {why}.", hint)


def _reinstall() -> str:
    return (
        f"Installed: {' and '.join(distributions()) or 'nothing'}. They overwrite each other: "
        f"pip uninstall onnxruntime onnxruntime-gpu, then {INSTALL_CUDA}."
    )
