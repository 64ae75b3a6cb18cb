"""The scanner in one call: tiles of a survey in, a catalogue of embeddings out. ``import scanner`` offers it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs import catalogue as catalogues
from scanner.encoder import options as encoder_options
from scanner.encoder.certificate import FOLDER
from scanner.encoder.contract import DEFAULT_MODEL, ModelFile
from scanner.encoder.encoder import Encoder, log_cost
from scanner.encoder.options import FP32, ONNXRUNTIME, OPENVINO
from scanner.scan import run
from scanner.scan.options import DETECT, NORMAL, SOURCES, TIME_LIMIT, ScanOptions, default_readers
from scanner.scan.progress import Quiet, visible
from scanner.scan.report import ScanReport
from scanner.sources import table_of_tile
from scanner.survey import tile_list
from scanner.survey.survey import Survey
from scanner.survey.survey import load as load_survey
from scanner.survey.tile import refuse_shared_numbers

if TYPE_CHECKING:
    from scanner.scan.best_rows import Keep
    from scanner.scan.share import Share


__all__ = ["OptionsError", "load_survey", "scan_tiles"]


class OptionsError(ValueError):
    """Options that contradict each other; nothing was opened or written."""


def scan_tiles(
    tiles: str | Path | Iterable[str | Path],
    catalogue: str | Path,
    *,
    root: str | Path = ".",
    survey: str | Path | Survey = "unions",
    model: str | Path = DEFAULT_MODEL,
    precision: str = FP32,
    runtime: str = ONNXRUNTIME,
    device: str = "auto",
    batch: int | None = None,
    sources: str = DETECT,
    min_snr: float = 5.0,
    stride: int = 32,
    bands: str | Sequence[str] | None = None,
    resample: bool = False,
    keep: int | None = None,
    like: str | Path | None = None,
    like_catalog: str | Path | None = None,
    readers: int | None = None,
    memory: str = NORMAL,
    time_limit: float = TIME_LIMIT,
    scratch: str | Path | None = None,
    checksums: bool = True,
    share: Share | None = None,
    workers: int | None = None,
    dask: str | None = None,
    dask_config: str | Path | None = None,
    verify: bool = False,
    progress: bool = False,
) -> ScanReport:
    """Find every object of ``tiles``, embed it, and store it in ``catalogue``, which is made where there is none.

    >>> import scanner
    >>> report = scanner.scan_tiles(["217.292"], "embeddings", root="/data/unions")     # doctest: +SKIP
    >>> report.objects, [(tile.tile, tile.message) for tile in report.failed]            # doctest: +SKIP

    ``tiles`` is the path of a list (``-``: standard input), or its lines: names of tiles, paths, URLs or globs.
    ``root`` is the folder or URL of the images. ``survey`` is a name, a TOML file, or a survey that was loaded.
    ``model`` is the name of a shipped encoder or a file; ``device`` is auto, cpu, cuda, cuda:N or tensorrt.
    ``runtime`` is onnxruntime, or openvino, whose agreement with it is measured on this processor at first use.

    ``keep`` is the number of rows of each tile that are stored: those most like the positions in the table ``like``,
    whose embeddings come from ``like_catalog`` or from pixels under ``root``. ``workers``, ``dask`` (the address of a
    scheduler) and ``dask_config`` scan with Dask. ``share`` is the share of the list to scan. ``progress`` reports on
    stderr. See ``scanner.scan.options.ScanOptions`` for the other options; by default, the machine sets ``readers``.

    A tile that is in the catalogue already is skipped. With ``verify`` its file is read, and the tile is scanned again
    if the file is damaged. The reason of a failure is in the report and in the catalogue;
    the next scan retries the tile.

    Raises:
        ScannerError: What is wrong with every tile: ``list.*``, ``root.unreadable``, ``survey.*``, ``model.*``,
            ``device.*``, ``output.*``, ``catalogue.other_model``, ``cluster.*``...
        OptionsError: Options contradict each other.
        KeyboardInterrupt: SIGINT or SIGTERM was received. The current tile is dropped, finished ones are kept.
    """
    if (keep is None) != (like is None) or (like_catalog and like is None):
        raise OptionsError("keep (best:N) and like (FILE) go together, and like-catalog needs both.")
    if like is not None and like_catalog is None and not Path(root).is_dir():
        raise OptionsError("Examples are embedded from a root that is a folder; else give like-catalog.")
    source = None
    if workers or dask is not None or dask_config:
        # A scan of one machine loads nothing of the cluster.
        from scanner.cluster.job import WorkerSource

        try:
            source = WorkerSource.of_options(workers, dask, dask_config)
        except ValueError as error:
            raise OptionsError(str(error)) from error
    if batch and runtime == OPENVINO:
        raise OptionsError("batch is fixed with runtime openvino: in bf16 another one would give other embeddings.")
    encoder_options.check(runtime, precision, device)

    with contextlib.ExitStack() as stack:
        # The workers of a cluster open sessions of their own; the machine that starts the scan only reads the contract.
        opened = partial(Encoder, model, precision=precision, runtime=runtime, certificates=Path(catalogue) / FOLDER)
        encoder = None if source else stack.enter_context(opened(device=device, batch=batch))
        file = encoder or ModelFile.find(model, precision, runtime)
        log_cost(file)
        plan = survey if isinstance(survey, Survey) else load_survey(survey)
        lines = tile_list.read_lines(tiles) if isinstance(tiles, str | Path) else tile_list.clean(map(str, tiles))
        listed = tile_list.parse(lines, plan, root)
        if sources not in SOURCES:
            # Before the list is shared out: pixels of one tile are no more those of others.
            table_of_tile.check_list(sources, (tile.name for tile in listed))
        if share is not None:
            listed = share.of(listed)
        chosen: Keep | None = None
        if keep is not None and like is not None:
            from scanner.queries import keep_weights

            if like_catalog is not None:
                chosen = keep_weights.from_catalogue(keep, Path(like), catalogues.open(Path(like_catalog)), file)
            else:
                embeds = encoder or stack.enter_context(opened(device="cpu"))
                chosen = keep_weights.by_pixels(keep, Path(like), plan, embeds, Path(root))
        if readers is None:
            here = not (dask or dask_config)
            readers = default_readers(device, precision, workers or 1, of_this_machine=here, runtime=runtime)
        options = ScanOptions(
            sources=sources,
            bands=_bands(bands),
            min_snr=min_snr,
            stride=stride,
            keep=chosen,
            resample=resample,
            readers=readers,
            memory=memory,
            time_limit=time_limit,
            scratch=Path(scratch or tempfile.gettempdir()) if any(tile.remote for tile in listed) else None,
            verify=verify,
            checksums=checksums,
        )
        provenance = run.make_run(plan, file, options, model=Path(model).name if Path(model).is_file() else str(model))
        store = catalogues.create(catalogue, provenance)
        listed = refuse_shared_numbers(listed, store.tiles())
        shown = stack.enter_context(visible(len(listed)) if progress else Quiet())
        if encoder is not None:
            return run.scan_tiles(listed, plan, encoder, store, provenance, options, shown)
        from scanner.cluster.run import scan_tiles as scan_on_cluster

        assert source is not None
        return scan_on_cluster(
            listed, plan, file, store, provenance, options, source, device=device, batch=batch, progress=shown
        )


def _bands(bands: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of bands; ``gri`` and ``g,r,i`` alike."""
    if isinstance(bands, str) and "," in bands:
        bands = [part.strip() for part in bands.split(",")]
    return None if bands is None else tuple(bands)
