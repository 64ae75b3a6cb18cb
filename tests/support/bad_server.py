"""A web server of a folder, with the faults of real ones on demand."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Print nothing when a client leaves in the middle of a body."""


class BadServer:
    """Serves ``folder`` at ``url``. ``faults`` of a file name are used up one by one, ``always`` stays.

    ``cut``: the connection breaks in the middle; ``lie``: fewer bytes come than were announced, and then the end;
    ``endless``: a body without an end or an announced length; ``huge``: one of an exabyte; ``drip``: a byte now and
    then; ``gzip``: a body that unpacks to more than the file; ``part``: half of it, as an answer 206; a URL: a
    redirection; or a status, such as 503.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, list[str | int]] = {}
        self.always: dict[str, str | int] = {}
        self.gets: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.on_get: Callable[[str], None] = lambda name: None
        self.sent = 0
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def fault(self, name: str, method: str) -> str | int | None:
        with self._lock:
            self.asked[name] += 1
            if name in self.always:
                return self.always[name]
            if method == "GET":
                self.gets[name] += 1
                if self.faults.get(name):
                    return self.faults[name].pop(0)
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bad = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer("HEAD")

            def do_GET(self) -> None:
                self.answer("GET")

            def answer(self, method: str) -> None:
                path = bad.folder / self.path.partition("?")[0].lstrip("/")
                fault = bad.fault(path.name, method)
                if isinstance(fault, int) or not path.is_file():
                    self.send_response(fault if isinstance(fault, int) else 404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if isinstance(fault, str) and "://" in fault:
                    self.send_response(302)
                    self.send_header("Location", fault)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if fault in ("endless", "huge", "drip"):
                    self.stream(fault, method)
                    return
                content = path.read_bytes()
                if fault == "gzip":
                    content = gzip.compress(content + bytes(10_000_000))
                if fault == "part":
                    content = content[: len(content) // 2]
                announced = len(content) + (1000 if fault == "lie" else 0)
                self.send_response(206 if fault == "part" else 200)
                if fault == "gzip":
                    self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Length", str(announced))
                self.end_headers()
                if method == "GET":
                    bad.on_get(path.name)
                    self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
                    self.close_connection = fault in ("cut", "lie")

            def stream(self, fault: str, method: str) -> None:
                """A body that goes on until the client, or the server, ends."""
                self.send_response(200)
                if fault != "endless":
                    self.send_header("Content-Length", str(10**18 if fault == "huge" else 10**9))
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                with contextlib.suppress(OSError):
                    while method == "GET" and not bad.closing.is_set():
                        self.wfile.write(b"x" if fault == "drip" else bytes(1 << 20))
                        bad.sent += 1 if fault == "drip" else 1 << 20
                        if fault == "drip":
                            bad.closing.wait(0.05)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler


@contextmanager
def serving(folder: Path) -> Iterator[BadServer]:
    bad = BadServer(folder)
    thread = threading.Thread(target=bad.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield bad
    finally:
        bad.closing.set()
        bad.server.shutdown()
        bad.server.server_close()
        thread.join()
