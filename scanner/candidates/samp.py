"""A list broadcast to other programs of this machine, such as TOPCAT, Aladin and DS9, by SAMP.

Source: Simple Application Messaging Protocol 1.3, https://www.ivoa.net/documents/SAMP/
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs.errors import ErrorCode, ScannerError
from catalogs.render import render

if TYPE_CHECKING:
    from astropy.table import Table

LOAD_TABLE = "table.load.votable"
SECONDS = 60
"""How long a program may take to load a table."""
_sending = threading.Lock()


@dataclass(frozen=True)
class Receiver:
    """A program that the table was sent to; ``problem`` says why it did not load it."""

    name: str
    problem: str = ""


def broadcast(table: Table, name: str, seconds: int = SECONDS) -> list[Receiver]:
    """Send a table to every program that loads tables, and wait until each has loaded it. Threads take turns.

    Raises:
        ScannerError: ``samp.no_hub``, ``samp.no_receiver``.
    """
    from warnings import catch_warnings, simplefilter

    from astropy.utils.exceptions import AstropyDeprecationWarning

    with catch_warnings():
        # Astropy 8 announces that its SAMP moves to pyvo, and has it still.
        simplefilter("ignore", AstropyDeprecationWarning)
        from astropy.samp import SAMPHubError, SAMPIntegratedClient, SAMPProxyError, conf

    # A hub is looked for on this machine alone.
    with _sending, conf.set_temp("use_internet", False), tempfile.TemporaryDirectory() as folder:
        client = SAMPIntegratedClient(name="scanner", description="Tables of objects", callable=True)
        try:
            client.connect()
        except (SAMPHubError, OSError) as error:
            hint = "Start TOPCAT or Aladin, which start a hub, on the machine of scanner and as the same user."
            raise ScannerError(ErrorCode.SAMP_NO_HUB, "No SAMP hub is running.", hint) from error
        try:
            known = client.get_subscribed_clients(LOAD_TABLE)
            if not known:
                message = "No program that is connected to the SAMP hub loads tables."
                raise ScannerError(ErrorCode.SAMP_NO_RECEIVER, message, "Start TOPCAT or Aladin.")
            path = Path(folder) / "list.vot"
            rendered = render(table, "votable")
            path.write_text(rendered if isinstance(rendered, str) else rendered.decode(), encoding="utf-8")
            call = {
                "samp.mtype": LOAD_TABLE,
                "samp.params": {"url": path.as_uri(), "table-id": f"scanner-{name}", "name": name},
            }
            receivers = []
            for one in known:
                called = client.get_metadata(one).get("samp.name", one)
                try:
                    answer = client.call_and_wait(one, call, str(seconds))
                    failed = answer.get("samp.status") == "samp.error"
                    problem = answer.get("samp.error", {}).get("samp.errortxt", "an error") if failed else ""
                except (SAMPProxyError, OSError) as error:
                    problem = f"no answer: {error}"
                receivers.append(Receiver(called, problem))
            # The file is removed now that everybody has read it.
            return receivers
        finally:
            client.disconnect()
