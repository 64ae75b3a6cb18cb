"""People at the page: each asks, waits for the answer, looks at it for a while, and asks again."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IDLE = 3.0
"""Seconds after which a connection is not used again."""

Step = Callable[["Person", int], None]
"""What a person does once, the how manieth time."""


@dataclass(frozen=True)
class Address:
    """A server, and the token that opens it."""

    host: str
    port: int
    token: str


@dataclass
class Tally:
    """Seconds of the answers, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def row(self, name: str, wall: float) -> dict[str, Any]:
        """The figures of a phase that took ``wall`` seconds."""
        return {
            "phase": name,
            "requests": len(self.seconds),
            "errors": len(self.errors),
            "per_s": len(self.seconds) / wall if wall else 0.0,
            "p50_ms": 1000 * percentile(self.seconds, 50),
            "p95_ms": 1000 * percentile(self.seconds, 95),
            "max_ms": 1000 * max(self.seconds, default=math.nan),
        }


class Person:
    """One connection, kept open as a browser keeps it; ``rng`` decides what this person asks for."""

    def __init__(self, address: Address, number: int) -> None:
        self.number, self.rng = number, np.random.default_rng([1, number])
        self._address = address
        self._connection = http.client.HTTPConnection(address.host, address.port, timeout=600)
        self._answered = time.monotonic()

    def ask(self, path: str, body: Any = None, accept: str = "text/html") -> bytes:
        """Ask and read the whole answer.

        Raises:
            OSError: The server does not answer.
            RuntimeError: It answers with an error.
        """
        headers = {"Authorization": f"Bearer {self._address.token}", "Accept": accept}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        # The server closes a connection that was idle for longer; the next request opens another.
        if time.monotonic() - self._answered > IDLE:
            self._connection.close()
        self._connection.request("GET" if body is None else "POST", path, content, headers)
        answer = self._connection.getresponse()
        read = answer.read()
        self._answered = time.monotonic()
        if answer.status >= 400:
            raise RuntimeError(f"{path}: {answer.status} {read[:200]!r}")
        return read

    def ask_json(self, path: str, body: Any = None) -> Any:
        """Ask as a program does."""
        return json.loads(self.ask(path, body, "application/json"))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def percentile(values: Iterable[float], share: float) -> float:
    """Give the smallest value that ``share`` percent of all do not exceed (nearest rank); NaN without values."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(share / 100 * len(ordered)), 1) - 1]


def together(address: Address, people: int, times: int, think: float, step: Step) -> tuple[Tally, float]:
    """Have ``people`` do a step ``times`` times each, with pauses of ``think`` seconds in the mean before each.

    Returns the seconds of all steps, and those from the start to the end of all.
    """
    tally, lock = Tally(), threading.Lock()
    begin = threading.Barrier(people + 1)

    def work(number: int) -> None:
        person = Person(address, number)
        begin.wait()
        for turn in range(times):
            # People do not ask in step: pauses are exponential, with a seed of each person's own.
            time.sleep(person.rng.exponential(think) if think else 0.0)
            began = time.perf_counter()
            try:
                step(person, turn)
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                with lock:
                    tally.errors.append(f"{type(error).__name__}: {error}")
                continue
            with lock:
                tally.seconds.append(time.perf_counter() - began)
        person.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    begin.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return tally, time.perf_counter() - began


def lost(acknowledged: Sequence[str], stored: Iterable[str]) -> list[str]:
    """List the verdicts that were acknowledged and are not in the record."""
    there = set(stored)
    return [one for one in acknowledged if one not in there]
