"""ONNX Runtime as a runtime of the encoder: the default, and the reference of the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scanner.encoder import session
from scanner.encoder.buffers import Binding


class OnnxRuntimeModel:
    """A model file in a session; see ``scanner.encoder.runtime.OpenModel``."""

    def __init__(self, path: Path, device: str, rows: Callable[[str], int]) -> None:
        self._session, self.provider = session.open_session(path, device, rows)
        self.software = f"ONNX Runtime {session.load().__version__}"
        self.on_cpu = self.provider == session.CPU
        self.rows = rows(self.provider)

    @property
    def nodes(self) -> dict[str, tuple[str, list[Any]]]:
        nodes = (*self._session.get_inputs(), *self._session.get_outputs())
        return {node.name: (node.type, list(node.shape)) for node in nodes}

    @property
    def placement(self) -> dict[str, set[str]]:
        return {} if self.on_cpu else session.placement(self._session)

    def binding(self, shape: tuple[int, int, int], dim: int, scores: int) -> Binding:
        return Binding(self._session, self.provider, self.rows, shape, dim, scores)
