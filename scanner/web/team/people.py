"""The team behind a request: its ledger, and whoever asks."""

from __future__ import annotations

import threading

from fastapi import Request

from catalogs.bounded_cache import BoundedCache
from catalogs.errors import ErrorCode, ScannerError
from scanner.inspection import plan as plans
from scanner.inspection.consensus import Consensus
from scanner.inspection.ledger import Ledger
from scanner.inspection.plan import Plan
from scanner.inspection.team import Inspector
from scanner.web.hunt import hunter_of
from scanner.web.pages import PERSON

SHOWN = ("mag_auto", "flux_radius", "snr", "flags", "bands_present", "valid_fraction")
"""Columns that an inspector sees before the grade, beside magnitudes: what the pixels are, and not how they rank."""

_making = threading.Lock()


def ledger_of(request: Request) -> Ledger:
    """The ledger of the plan of the project, up to date; read anew where the plan has changed.

    Raises:
        ScannerError: ``inspect.no_plan``, ``inspect.damaged``, ``hunt.*``.
    """
    project, state = hunter_of(request).project, request.app.state
    path = project.folder / plans.FILE
    with _making:
        stamp = (path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else None
        if getattr(state, "plan_stamp", None) != stamp or not hasattr(state, "ledger"):
            state.ledger, state.plan_stamp = Ledger(Plan.of(project)), stamp
            state.consensus = BoundedCache(2)
        ledger: Ledger = state.ledger
    ledger.refresh()
    return ledger


def consensus_of(request: Request) -> Consensus:
    """The consensus of what stands now, kept until something is added.

    Raises:
        ScannerError: As ``ledger_of`` does.
    """
    # Others refresh the ledger meanwhile, and a plan that changed has another one.
    ledger = ledger_of(request)
    frozen, state = ledger.freeze(), request.app.state
    made: Consensus = state.consensus.get((ledger, frozen.state), lambda: Consensus(frozen))
    return made


def inspector_of(request: Request, name: str) -> str:
    """The inspector whose grades the address names, who must be the one who asks.

    Raises:
        ScannerError: ``inspect.bad_token``.
    """
    person: Inspector | None = request.scope.get(PERSON)
    if person is None or person.name != name or person.chair:
        message = f"These are the grades of {name[:40]!r}, and this is not the token of that inspector."
        raise ScannerError(ErrorCode.INSPECT_BAD_TOKEN, message, "Open the page with the token of that inspector.")
    return name


def chair_of(request: Request) -> Inspector | None:
    """Check that whoever asks may see all: a chair, or None for the token of the server.

    Raises:
        ScannerError: ``inspect.blind``.
    """
    person: Inspector | None = request.scope.get(PERSON)
    if person is not None and not person.chair:
        raise ScannerError(ErrorCode.INSPECT_BLIND, "Only a chair sees the grades of all.", "Grade first.")
    return person


def shown_columns(plan: Plan) -> list[str]:
    """The columns that an inspector sees of every object, so that no list is told from another by what it lacks."""
    rounds = [plan.project.round(number) for number in dict.fromkeys(plan.record.rounds)]
    there = set.intersection(*(set(one.objects.column_names) for one in rounds)) if rounds else set()
    magnitudes = [f"mag_{band}" for band in rounds[0].record.bands] if rounds else []
    return [name for name in (*SHOWN[:1], *magnitudes, *SHOWN[1:]) if name in there]
