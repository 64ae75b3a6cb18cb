"""``scanner serve``: the page for a browser."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scanner.cli.options import catalog_option, encoder_options, image_options
from scanner.cli.output import DataCommand, show
from scanner.web import HOST, PORT


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to show.")
@click.option(
    "--like",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of known lenses with ra and dec, to start from (CSV, FITS, VOTable, Parquet, .cat).",
)
@click.option("--host", default=HOST, show_default=True, help="Address to listen at; 0.0.0.0 is all of the machine's.")
@click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes any that is free."
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Name by which browsers may call this machine.")
@click.option("--token", envvar="SCANNER_TOKEN", help="Token of the address; $SCANNER_TOKEN, else a new one.")
@image_options
@encoder_options
def serve(
    catalog: Path,
    like: Path | None,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    token: str | None,
    root: Path | None,
    survey: str | None,
    model: str | None,
    device: str,
) -> None:
    """Serve the page: search a catalogue by looking at it, in a browser.

    Prints the address to open. It holds a token, without which the server answers nobody, so that other users of the
    machine cannot look. Only programs of this machine reach it unless --host says otherwise. To look from elsewhere,
    forward the port: ssh -L 8431:localhost:8431 MACHINE. Without --root there are no cutouts.

    \b
    Examples:
      scanner serve --catalog embeddings --root /data/unions
      scanner serve --root /data/unions --like lenses.csv --port 0
    """
    run(
        catalog,
        root=root,
        like=like,
        host=host,
        port=port,
        hosts=allow_host,
        token=token,
        survey=survey,
        model=model,
        device=device,
    )


def run(
    catalog: Path,
    *,
    root: Path | None,
    like: Path | None = None,
    host: str = HOST,
    port: int = PORT,
    hosts: tuple[str, ...] = (),
    token: str | None = None,
    survey: str | None = None,
    model: str | None = None,
    device: str = "auto",
) -> None:
    """Serve a catalogue until Ctrl-C.

    Raises:
        ScannerError: ``web.not_installed``, ``web.port``, ``catalogue.*``, ``survey.*``.
    """
    from catalogs.errors import ErrorCode, ScannerError

    try:
        import fastapi  # noqa: F401
        import jinja2  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        hint = "Install it: pip install 'unions-scanner[web]'"
        raise ScannerError(ErrorCode.WEB_NOT_INSTALLED, f"The page needs the package {error.name}.", hint) from error
    import catalogs
    from scanner.web.server import serve as serve_site
    from scanner.web.site import Site

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    site = Site(catalogs.open(catalog), root=root, survey=survey, model=model, device=device, like=like)
    serve_site(
        site, host, port, token=token, hosts=hosts, announce=lambda url: show(f"Open {url}\nCtrl-C ends the server.")
    )
