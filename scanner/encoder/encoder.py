"""The encoder: windows of flux to embeddings and scores, through one open model."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.encoder import certificate, made_cutouts, openvino_runtime, options
from scanner.encoder.agreement import agree_fully
from scanner.encoder.buffers import INPUT, OUTPUT, SCORES, Encoded
from scanner.encoder.certificate import Certificate, Subject
from scanner.encoder.contract import ModelFile
from scanner.encoder.options import FP32, ONNXRUNTIME
from scanner.encoder.runtime import Buffers, OpenModel, open_model
from scanner.system import processor
from scanner.system.resources import usable_cores

Array = NDArray[np.float32]

log = logging.getLogger(__name__)

GPU_CALLERS = 3
UNIT_TOLERANCE = 1e-2


class Encoder:
    """A checked model file and the runtime that computes it.

    ``path``: a file, or the name of a shipped model; ``precision``: fp32, int8, fp16 or bf16 (None: that of the file);
    int8 and bf16 are for CPUs. ``device``: auto, cpu, cuda, cuda:N, tensorrt. ``threads``: how many callers run at
    once (None: one a core, or 3 on a GPU). ``batch``: rows per call. Batches are always padded to
    it, so that what a row gives depends neither on the number of rows, nor on its neighbours, nor on the thread.

    ``runtime``: onnxruntime, or openvino, which must agree with it: what was measured on this processor is
    ``certificate``. ``certificates`` is a folder of earlier ones; what it lacks is measured, which takes some seconds.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        threads: int | None = None,
        batch: int | None = None,
        precision: str | None = None,
        runtime: str = ONNXRUNTIME,
        certificates: Path | None = None,
    ) -> None:
        file = ModelFile.find(path, precision, runtime)
        options.check(runtime, file.precision, device)
        self.path, self.sha256, self.contract = file.path, file.sha256, file.contract
        self.precision, self.runtime = file.precision, file.runtime
        if options.cpu_only(runtime, self.precision) and device == "auto":  # 8-bit products have no kernels on a GPU
            device = "cpu"
        self._model = open_model(file, device, threads, batch)
        self.provider, self.on_cpu, self.batch = self._model.provider, self._model.on_cpu, self._model.rows
        if self.precision == "int8" and not self.on_cpu:
            raise ScannerError(
                ErrorCode.DEVICE_PRECISION,
                f"{self.path} is in int8, which is for CPUs.",
                "On a GPU: --precision fp16, or fp32.",
            )
        _check_graph(self._model, file)
        self.threads = threads or (usable_cores() if self.on_cpu else GPU_CALLERS)
        scores = self.contract.scores
        # Numbers of a row: D of the vector, K scores.
        self._widths = self.contract.embedding_dim, len(scores.names) if scores else 0
        # Each calling thread has buffers of its own.
        self._own = threading.local()
        self._pool: ThreadPoolExecutor | None = None
        self._try_out()
        self.certificate = None if runtime == ONNXRUNTIME else self._certify(certificates)

    @property
    def placement(self) -> dict[str, set[str]]:
        """Operators by the provider that runs them, of a session on a GPU. Empty: on a CPU, or unknown."""
        return self._model.placement

    @property
    def page_locked(self) -> bool:
        """Whether pixels go to a GPU from page-locked memory: not on a CPU, nor where the driver refuses."""
        return self._binding().page_locked

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one window, [B, S, S]: bands, rows, columns."""
        return len(self.contract.bands), self.contract.window, self.contract.window

    def embed(self, flux: Array) -> Array:
        """Embed windows: the vectors of ``encode``, [N, D]."""
        return self.encode(flux).vectors

    def encode(self, flux: Array) -> Encoded:
        """Encode windows; batches run in ``threads`` threads.

        ``flux`` is [N, B, S, S] in nJy, NaN for no data; returned are unit vectors [N, D] and, if the model gives them,
        scores [N, K]. A row whose vector is not finite or not of unit length is all NaN. So is a score that is not
        finite. A window without any data gets what the graph makes of it, which means nothing.

        Raises:
            ValueError: The windows have another shape.
            ScannerError: ``encoder.failed``.
        """
        if flux.ndim != 4 or flux.shape[1:] != self.shape:
            raise ValueError(f"flux has shape {flux.shape}, the model takes [N, {', '.join(map(str, self.shape))}]")
        out = Encoded(*(np.empty((len(flux), width), np.float32) for width in self._widths))
        # One thread per batch: a batch takes no more than one core.
        starts = range(0, len(flux), self.batch)
        if self.threads == 1 or len(starts) < 2:
            for start in starts:
                self._encode_into(flux, start, out)
        else:
            for _ in self._callers().map(lambda start: self._encode_into(flux, start, out), starts):
                pass
        return out

    def buffer(self) -> Array:
        """Memory of the calling thread for a batch, [batch, B, S, S], which ``encode_batch`` takes without a copy."""
        return self._binding().flux

    def encode_batch(self, flux: Array) -> Encoded:
        """As ``encode`` for at most ``batch`` windows, in the calling thread; any number of threads may call it."""
        try:
            encoded = self._binding().run(flux)
        except Exception as error:  # the binding raises a class of its own for each status code
            why = f"{self._model.software} failed on {len(flux)} windows: {str(error).splitlines()[0]}"
            raise ScannerError(ErrorCode.ENCODER_FAILED, why, "If memory is short, lower --batch.") from error
        return _without_invalid(encoded)

    def close(self) -> None:
        """Stop the threads that ``embed`` started."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _encode_into(self, flux: Array, start: int, out: Encoded) -> None:
        stop = start + self.batch
        for whole, part in zip(out, self.encode_batch(flux[start:stop]), strict=True):
            whole[start:stop] = part

    def _binding(self) -> Buffers:
        """The buffers of the calling thread."""
        if not hasattr(self._own, "binding"):
            self._own.binding = self._model.binding(self.shape, *self._widths)
        binding: Buffers = self._own.binding
        return binding

    def _callers(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="encoder")
        return self._pool

    def _try_out(self) -> None:
        """A batch of noise, gaps and no data at all must give unit vectors and scores; else ``model.bad_output``."""
        flux = np.random.default_rng(0).normal(0.0, 100.0, (min(3, self.batch), *self.shape)).astype(np.float32)
        # The second window has no data in its first band, the third none at all.
        flux[1:2, 0] = np.nan
        flux[2:3] = np.nan
        try:
            vectors, scores = self.encode_batch(flux)
        except ScannerError as error:
            raise ScannerError(
                ErrorCode.MODEL_BAD_OUTPUT, f"{self.path} fails on a test batch: {error}", error.hint
            ) from error
        if not (np.isfinite(vectors).all() and np.isfinite(scores).all()):
            whole = np.isfinite(vectors).all()
            what = "scores that are not finite" if whole else "vectors that are not finite or not of unit length"
            raise ScannerError(
                ErrorCode.MODEL_BAD_OUTPUT,
                f"{self.path} gives {what} for cutouts with gaps.",
                "The graph must replace NaN and normalise: export it with python -m export CHECKPOINT encoder.onnx",
            )

    def _certify(self, known: Path | None) -> Certificate:
        """Find or measure the agreement with ONNX Runtime; ``runtime.disagrees`` if it is too small."""
        subject = Subject(self.runtime, self._model.software, self.precision, processor.describe(), self.sha256)
        found = certificate.find(known, subject)
        # One of an earlier version may tell nothing of the scores.
        if found is None or (self.contract.scores is not None and found.agreement.scores is None):
            flux = made_cutouts.make(self.contract)
            with Encoder(self.path, "cpu", self.threads) as reference:
                found = Certificate(subject, agree_fully(reference.encode(flux), self.encode(flux)))
        found.check()
        return found


def log_cost(model: Encoder | ModelFile) -> None:
    """Log the accuracy loss of a precision, as measured at export and here, and what would be faster."""
    contract = model.contract
    if contract.cost:
        log.info("%s: %s. A catalogue holds one format only.", contract.precision, contract.cost)
    if isinstance(model, Encoder) and model.certificate is not None:
        log.info("%s. A catalogue holds the embeddings of one runtime only.", model.certificate)
    if contract.precision == "fp16" and isinstance(model, Encoder) and model.on_cpu:
        log.warning("On a CPU fp16 is slower than fp32; use it on GPUs.")
    if isinstance(model, Encoder) and model.on_cpu and model.precision == FP32 and (hint := openvino_runtime.hint()):
        log.info(hint)


def _without_invalid(encoded: Encoded) -> Encoded:
    """The results with NaN for vectors [n, D] that are not finite or not of unit length, and for invalid scores."""
    vectors, scores = encoded
    length = np.linalg.norm(vectors, axis=1)
    good = np.abs(length - 1.0) < UNIT_TOLERANCE  # false for NaN and infinity
    if not good.all():
        vectors = np.where(good[:, None], vectors, np.float32(np.nan))
    valid = good[:, None] & np.isfinite(scores)
    if not valid.all():
        scores = np.where(valid, scores, np.float32(np.nan))
    return Encoded(vectors, scores)


def _check_graph(model: OpenModel, file: ModelFile) -> None:
    """Compare the contract with the graph's own input and output; the graph may be fixed to the rows of a batch."""
    contract = file.contract
    expected = {
        INPUT: ["N", len(contract.bands), contract.window, contract.window],
        OUTPUT: ["N", contract.embedding_dim],
    }
    if contract.scores is not None:
        expected[SCORES] = ["N", len(contract.scores.names)]
    nodes = model.nodes
    for name, shape in expected.items():
        kind, dims = nodes.pop(name, ("nothing", []))
        if kind != "tensor(float)" or dims[1:] != shape[1:] or (isinstance(dims[0], int) and dims[0] != model.rows):
            raise _disagrees(file.path, f"{name} is {kind} {dims}, its contract says float32 {shape}")
    if nodes:
        raise _disagrees(file.path, f"it also has {', '.join(nodes)}")


def _disagrees(path: Path, why: str) -> ScannerError:
    return ScannerError(
        ErrorCode.MODEL_BAD_CONTRACT,
        f"{path} is refused: {why}.",
        "The file and its contract disagree; export it again: python -m export CHECKPOINT encoder.onnx",
    )
