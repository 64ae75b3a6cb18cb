"""Journal of a run: a JSONL log, a line of progress on stderr, the loss curve as a PNG, and TensorBoard on request."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from catalogs.atomic import replacing, write_text
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json

LOG, CURVE, EVENTS = "log.jsonl", "loss.png", "tensorboard"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the records of a run, oldest first; a line that a kill cut short is skipped."""
    path, records = folder / LOG, []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            records.append(load_json(line))
        except ValueError:
            break
    return records


class Journal:
    """Log of a run in ``folder/log.jsonl``, and with ``tensorboard`` also in ``folder/tensorboard``.

    Records after ``step`` are dropped when it is opened, since a resumed run repeats these steps.

    Raises:
        ScannerError: ``tensorboard.missing``.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = False) -> None:
        self.folder = folder
        self._events = _writer(folder / EVENTS, step) if tensorboard else None
        records = [json.dumps(record) + "\n" for record in read_log(folder) if record["step"] <= step]
        write_text(folder / LOG, "".join(records))

    def write(self, step: int, **numbers: float) -> None:
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        for name, number in numbers.items() if self._events else ():
            self._events.add_scalar(name, number, step)

    def close(self) -> None:
        """Draw the curve and flush TensorBoard."""
        self.draw()
        if self._events:
            self._events.close()

    def report(self, step: int, steps: int, seconds_a_step: float, images_a_second: float, **numbers: float) -> None:
        """Write one line to stderr: step, numbers, rate, time left; on a terminal it overwrites the last one."""
        text = " ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        left = (steps - step) * seconds_a_step
        line = f"step {step}/{steps} {text} {images_a_second:.0f} images/s, {left / 60:.1f} min left"
        sys.stderr.write(f"\r{line}\033[K" if sys.stderr.isatty() else line + "\n")
        sys.stderr.flush()

    def draw(self) -> Path:
        """Draw ``folder/loss.png`` from the log."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(xlabel="step", ylabel="loss (masked, valid pixels)", yscale="log")
        # Log scale: the loss falls quickly at first and slowly for most of the run.
        for key, style in (("loss", {"lw": 0.8, "alpha": 0.7}), ("validation", {"marker": "o", "ms": 3})):
            points = [(record["step"], record[key]) for record in read_log(self.folder) if key in record]
            if points:
                axes.plot(*zip(*points, strict=True), label=key, **style)
        axes.grid(alpha=0.3, which="both")
        axes.legend(frameon=False)
        path = self.folder / CURVE
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150)
        return path


def _writer(folder: Path, step: int) -> Any:
    """Open a writer of events after ``step``; it purges those that an interrupted run wrote beyond its checkpoint."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        hint = "pip install tensorboard, or omit --tensorboard: log.jsonl holds the same numbers."
        raise ScannerError(ErrorCode.TENSORBOARD_MISSING, "TensorBoard is not installed.", hint) from error
    return SummaryWriter(str(folder), purge_step=step + 1)
