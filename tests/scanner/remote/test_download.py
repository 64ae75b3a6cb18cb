"""A body has an end, a limit in time and is what was asked for; whatever a server does, one tile fails."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")

import catalogs
from catalogs.errors import ScannerError
from scanner.encoder.encoder import Encoder
from scanner.remote import download
from scanner.scan.options import ScanOptions
from scanner.scan.report import ScanReport
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey, tile_list
from scanner.survey.tile_list import clean
from tests.support import small_tiles
from tests.support.bad_server import BadServer, serving
from tests.support.small_disk import small_disk
from tests.support.waiting import until

NAME = "image.fits"
CONTENT = bytes(range(256)) * 100


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BadServer]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / NAME).write_bytes(CONTENT)
    with serving(tmp_path / "web") as started:
        yield started


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.02, 0.04))


def fetch(url: str, folder: Path, limit: float = 600.0, wait: download.Wait = time.sleep) -> bytes:
    """The bytes of a file; nothing else may stay in the folder."""
    target = folder / "copy" / NAME
    try:
        download.fetch(url, target, wait, limit)
        return target.read_bytes()
    finally:
        left = [path for path in target.parent.iterdir() if path != target]
        assert not left


def refusal(url: str, folder: Path, limit: float = 600.0, wait: download.Wait = time.sleep) -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        fetch(url, folder, limit, wait)
    assert url.partition("?")[0] in caught.value.message
    return caught.value


def test_a_file_comes_whole(server: BadServer, tmp_path: Path) -> None:
    assert fetch(f"{server.url}/{NAME}", tmp_path) == CONTENT
    assert fetch(f"{server.url}/{NAME}".replace("http:", "HTTP:"), tmp_path) == CONTENT


def test_a_body_without_an_end_is_cut_off(server: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST_UNANNOUNCED", 20_000_000)
    server.always = {NAME: "endless"}
    error = refusal(f"{server.url}/{NAME}", tmp_path)
    assert error.code == "remote.too_large"
    assert "20,000,000 bytes" in error.message
    assert server.asked[NAME] == 1  # another try would be as long


def test_nothing_of_an_impossible_length_is_received(server: BadServer, tmp_path: Path) -> None:
    server.always = {NAME: "huge"}
    assert refusal(f"{server.url}/{NAME}", tmp_path).code == "remote.too_large"
    assert server.sent < 100_000_000


def test_a_slow_body_has_the_time_limit(server: BadServer, tmp_path: Path) -> None:
    server.always = {NAME: "drip"}
    began = time.monotonic()

    def wait(seconds: float) -> None:
        until(lambda: server.asked[NAME])  # a busy machine may take all of the limit to send the request
        time.sleep(seconds)

    error = refusal(f"{server.url}/{NAME}", tmp_path, limit=1.0, wait=wait)
    assert error.code == "remote.too_slow"
    assert "--time-limit" in error.hint
    assert time.monotonic() - began >= 1.0
    assert server.asked[NAME] == 1


def test_the_time_limit_is_of_all_tries(server: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0.01,) * 100_000)
    server.always = {NAME: 503}
    assert refusal(f"{server.url}/{NAME}", tmp_path, limit=1.0).code == "remote.too_slow"


def test_a_compressed_body_is_refused(server: BadServer, tmp_path: Path) -> None:
    server.always = {NAME: "gzip"}
    error = refusal(f"{server.url}/{NAME}", tmp_path)
    assert error.code == "remote.encoded"
    assert server.asked[NAME] == 1


def test_a_gzip_file_is_not_unpacked_by_the_way(server: BadServer, tmp_path: Path) -> None:
    """Web servers announce the compression of x.fits.gz itself as an encoding."""
    (server.folder / f"{NAME}.gz").write_bytes(CONTENT)
    server.always = {f"{NAME}.gz": "gzip"}
    assert fetch(f"{server.url}/{NAME}.gz", tmp_path)[:2] == b"\x1f\x8b"


@pytest.mark.parametrize("fault", ["part", "cut", "lie", 500, 302, "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_other_answers_are_not_the_file(server: BadServer, tmp_path: Path, fault: str | int) -> None:
    server.always = {NAME: fault}
    assert refusal(f"{server.url}/{NAME}", tmp_path).code == "remote.broken"
    assert server.asked[NAME] == len(download.PAUSES) + 1
    server.always = {}
    server.faults = {NAME: [fault]}
    assert fetch(f"{server.url}/{NAME}", tmp_path) == CONTENT


def test_a_redirection_without_an_end(server: BadServer, tmp_path: Path) -> None:
    server.always = {NAME: f"{server.url}/{NAME}"}
    assert refusal(f"{server.url}/{NAME}", tmp_path).code == "remote.broken"


def test_no_message_shows_a_credential(server: BadServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    url = f"{server.url}/{NAME}?signature=secret".replace("http://", "http://me:secret@")
    for fault, code in {403: "remote.denied", 500: "remote.broken", "gzip": "remote.encoded"}.items():
        server.always = {NAME: fault}
        with pytest.raises(ScannerError) as caught:
            fetch(url, tmp_path)
        assert caught.value.code == code
        assert "secret" not in caught.value.report()
    assert "secret" not in caplog.text
    server.always = {}
    assert fetch(url, tmp_path) == CONTENT


def test_a_chain_is_not_followed_from_any_road(tmp_path: Path) -> None:
    """Names of a survey file end up in URLs too."""
    (tmp_path / "x.fits").write_bytes(CONTENT)
    for url in (
        f"memory://a::file://{tmp_path}/x.fits",
        f"simplecache::file://{tmp_path}/x.fits",
        "http://[::1/x.fits",
    ):
        with pytest.raises(ScannerError) as caught:
            download.fetch(url, tmp_path / "copy", time.sleep, 600.0)
        assert caught.value.code in ("remote.bad_url", "remote.unknown_scheme")
        assert not (tmp_path / "copy").exists()


UNIONS = survey.load("unions")
NAMES = small_tiles.names(4)


def scan(lines: list[str], encoder: Encoder, scratch: Path, out: Path, limit: float = 600.0) -> ScanReport:
    options = ScanOptions(readers=0, scratch=scratch, time_limit=limit, bands=("r",))
    run = make_run(UNIONS, encoder, options)
    return scan_tiles(
        tile_list.parse(clean(lines), UNIONS), UNIONS, encoder, catalogs.create(out, run), run, options
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="mounts a small disk")
@pytest.mark.parametrize("fault", ["endless", "huge"])
def test_a_body_that_fills_the_disk_fails_its_own_tile(encoder: Encoder, tmp_path: Path, fault: str) -> None:
    web = tmp_path / "web"
    web.mkdir()
    files = {name: small_tiles.band_file(web, name, "r") for name in NAMES}
    for name in NAMES:
        small_tiles.write(web, name, size=120, objects=6, bands="r")
    with small_disk(tmp_path / "small", 150_000_000) as scratch, serving(web) as server:
        server.always = {files[NAMES[1]].name: fault}
        report = scan([f"{server.url}/{file.name}" for file in files.values()], encoder, scratch, tmp_path / "out")
        assert [(tile.tile, tile.code) for tile in report.failed] == [(NAMES[1], "remote.too_large")]
        assert report.count("done") == len(NAMES) - 1
        assert not list(scratch.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="mounts a small disk")
def test_a_disk_that_others_filled_ends_the_scan(encoder: Encoder, tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    small_tiles.write(web, NAMES[0], size=120, objects=6, bands="r")
    file = small_tiles.band_file(web, NAMES[0], "r")
    with small_disk(tmp_path / "small", 1_000_000) as scratch, serving(web) as server:
        (scratch / "others").write_bytes(bytes(980_000))
        with pytest.raises(ScannerError) as caught:
            scan([f"{server.url}/{file.name}"], encoder, scratch, tmp_path / "out")
        assert caught.value.code == "output.full"
        assert [path.name for path in scratch.iterdir()] == ["others"]


def test_the_time_limit_of_a_scan_holds_for_fetching(encoder: Encoder, tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    for name in NAMES[:2]:
        small_tiles.write(web, name, size=120, objects=6, bands="r")
    first, second = (small_tiles.band_file(web, name, "r").name for name in NAMES[:2])
    with serving(web) as server:
        server.always = {first: "drip"}
        lines = [f"{server.url}/{first}", str(web / second)]
        report = scan(lines, encoder, tmp_path / "scratch", tmp_path / "out", limit=1.0)
    assert [(tile.tile, tile.code) for tile in report.failed] == [(NAMES[0], "remote.too_slow")]
    assert report.count("done") == 1
