"""A bucket of an S3 object store: the part of its interface that reads, over the folders of a folder.

Source: the API reference of Amazon S3 (ListObjectsV2, HeadObject, GetObject with a range).
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Store:
    """Serves the folders of ``folder`` as buckets at ``url``; ``refuses`` is a status and code that answers all."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, 0
        self.refuses: tuple[int, str] | None = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {
            "AWS_ENDPOINT": self.url,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "reader",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def serve(folder: Path) -> Iterator[Store]:
    store = Store(folder)
    thread = threading.Thread(target=store.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.server.shutdown()
        store.server.server_close()
        thread.join()


def _listing(bucket: Path, prefix: str, delimiter: str) -> str:
    """Objects whose keys begin with a prefix; those with a delimiter after it are summed up as one prefix."""
    objects, prefixes = [], set()
    for path in sorted(path for path in bucket.rglob("*") if path.is_file()):
        key = path.relative_to(bucket).as_posix()
        if not key.startswith(prefix):
            continue
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        if found:
            prefixes.add(prefix + head + delimiter)
        else:
            objects.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{path.stat().st_size}</Size>"
                "<LastModified>2026-11-30T00:00:00.000Z</LastModified></Contents>"
            )
    shared = [f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(prefixes)]
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(objects + shared)}</ListBucketResult>"


def _handler(store: Store) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Print nothing."""

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            store.asked += 1
            if store.refuses:
                status, code = store.refuses
                self.answer(status, f"<Error><Code>{code}</Code></Error>".encode())
                return
            asked = urlsplit(self.path)
            path, query = store.folder / unquote(asked.path).lstrip("/"), parse_qs(asked.query)
            if "list-type" in query:
                listing = _listing(path, query.get("prefix", [""])[0], query.get("delimiter", [""])[0])
                self.answer(200, listing.encode())
            elif not path.is_file():
                self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            else:
                self.content(path.read_bytes())

        def content(self, data: bytes) -> None:
            headers = {
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT",
            }
            if not (span := re.fullmatch("bytes=([0-9]*)-([0-9]*)", self.headers.get("Range", ""))):
                self.answer(200, data, headers)
                return
            first = int(span[1]) if span[1] else len(data) - int(span[2])
            last = min(int(span[2]), len(data) - 1) if span[1] and span[2] else len(data) - 1
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            self.answer(206, data[first : last + 1], headers)

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler
