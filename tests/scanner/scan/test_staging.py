"""Remote tiles give the rows of local ones, through servers that break, lie and refuse; copies are few and brief."""

from __future__ import annotations

import os
import resource
import stat
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")

import fsspec

import catalogs
from catalogs.errors import ScannerError
from scanner.encoder.encoder import Encoder
from scanner.remote import download, vospace
from scanner.scan import staging
from scanner.scan.options import ScanOptions
from scanner.scan.progress import Quiet
from scanner.scan.report import ScanReport
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey, tile_list
from scanner.survey.tile_list import clean
from tests.support import small_tiles
from tests.support.bad_server import BadServer, serving

UNIONS = survey.load("unions")
NAMES = small_tiles.names(4)
BANDS = {NAMES[0]: "ugriz"}  # the others: g, r, i
R = {name: small_tiles.band_file(Path(), name, "r").name for name in NAMES}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small tiles, one of them in five bands, the others in g, r and i."""
    made = tmp_path_factory.mktemp("unions")
    for name in NAMES:
        small_tiles.write(made, name, size=120, objects=6, bands=BANDS.get(name, "gri"))
    return made


@pytest.fixture
def server(folder: Path) -> Iterator[BadServer]:
    with serving(folder) as started:
        yield started


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.02, 0.04))


class Bench:
    def __init__(self, encoder: Encoder, base: Path) -> None:
        self.encoder, self.out, self.scratch = encoder, base / "catalogue", base / "scratch"

    def scan(
        self, lines: list[str], root: str | Path, out: Path | None = None, readers: int = 0, **rest: object
    ) -> ScanReport:
        options = replace(ScanOptions(readers=readers, scratch=self.scratch), **rest)  # type: ignore[arg-type]
        run = make_run(UNIONS, self.encoder, options)
        listed = tile_list.parse(clean(lines), UNIONS, root)
        catalogue = catalogs.create(out or self.out, run)
        report = scan_tiles(listed, UNIONS, self.encoder, catalogue, run, options)
        assert not self.scratch.exists() or not list(self.scratch.iterdir())
        return report

    def contents(self, out: Path | None = None) -> dict[str, bytes]:
        return {path.stem: path.read_bytes() for path in sorted(((out or self.out) / "tiles").glob("*.parquet"))}


@pytest.fixture
def bench(encoder: Encoder, tmp_path: Path) -> Bench:
    return Bench(encoder, tmp_path)


@pytest.fixture(scope="module")
def local(folder: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a scan of the folder itself."""
    bench = Bench(encoder, tmp_path_factory.mktemp("local"))
    bench.scan(NAMES, folder)
    return bench.contents()


@pytest.mark.parametrize("readers", [0, 1])
def test_a_root_elsewhere_gives_the_same_bytes(
    bench: Bench, server: BadServer, local: dict[str, bytes], readers: int
) -> None:
    report = bench.scan(NAMES, server.url, readers=readers)
    assert report.count("done") == len(NAMES)
    assert bench.contents() == local
    assert bench.scan(NAMES, server.url).count("skipped") == len(NAMES)
    assert {server.gets[R[name]] for name in NAMES} == {1}


def test_the_layouts_of_the_survey_hold_elsewhere_too(
    bench: Bench, folder: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    for name in NAMES:
        for band in "ugriz":
            if (file := small_tiles.band_file(folder, name, band)).exists():
                target = tmp_path / "web" / name.replace(".", "_") / band / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(file)
    with serving(tmp_path / "web") as server:
        assert bench.scan(NAMES, f"{server.url}/").count("done") == len(NAMES)
        assert bench.contents() == local
        # once a band was found, it is looked for there first
        assert server.asked[small_tiles.band_file(folder, NAMES[3], "i").name] == 1


def test_a_url_in_the_list_brings_its_siblings(bench: Bench, server: BadServer, local: dict[str, bytes]) -> None:
    lines = [f"{server.url}/{R[NAMES[0]]}", f"{server.url}/{R[NAMES[1]]}", f"{server.url}/{R[NAMES[1]]}"]
    assert bench.scan(lines, ".").count("done") == 2
    assert bench.contents() == {name: local[name] for name in NAMES[:2]}


def test_a_signed_url_stands_for_itself(bench: Bench, server: BadServer) -> None:
    lines = [f"{server.url}/{R[NAMES[0]]}?signature=abc%2F", f"{server.url}/nonsense.fits"]
    report = bench.scan(lines, ".")
    assert (report.count("done"), [tile.code for tile in report.failed]) == (1, ["list.bad_line"])
    assert set(server.gets) == {R[NAMES[0]]}


def test_bands_that_are_not_read_are_not_fetched(bench: Bench, server: BadServer) -> None:
    bench.scan(NAMES[:1], server.url, bands=("g", "r"))
    assert {name.split(".")[-2] for name in server.gets} == {"r", f"calexp-CFIS_{NAMES[0].replace('.', '_')}"}


def test_other_file_systems(bench: Bench, folder: Path, local: dict[str, bytes]) -> None:
    memory = fsspec.filesystem("memory")
    for file in folder.iterdir():
        memory.pipe_file(f"/unions/{file.name}", file.read_bytes())
    try:
        assert bench.scan(NAMES, "memory://unions").count("done") == len(NAMES)
    finally:
        memory.rm("/unions", recursive=True)
    assert bench.contents() == local


@pytest.mark.parametrize("fault", ["cut", "lie", 503])
def test_what_breaks_now_and_then_is_fetched_again(
    bench: Bench, server: BadServer, local: dict[str, bytes], fault: str | int
) -> None:
    server.faults = {R[NAMES[0]]: [fault, fault], R[NAMES[1]]: [fault] * 3, R[NAMES[3]]: [fault]}
    assert bench.scan(NAMES, server.url).count("done") == len(NAMES)
    assert bench.contents() == local


@pytest.mark.parametrize(("fault", "said"), [("cut", ""), ("lie", ""), (503, "503")])
def test_what_stays_broken_is_a_failed_tile_to_try_again(
    bench: Bench, server: BadServer, local: dict[str, bytes], fault: str | int, said: str
) -> None:
    server.always = {R[NAMES[1]]: fault}
    report = bench.scan(NAMES, server.url)
    assert [(tile.tile, tile.code) for tile in report.failed] == [(NAMES[1], "remote.broken")]
    assert f"{server.url}/{R[NAMES[1]]}" in report.failed[0].message
    assert "4 tries" in report.failed[0].message
    assert said in report.failed[0].message
    assert report.count("done") == len(NAMES) - 1
    server.always = {}
    assert bench.scan(NAMES, server.url).count("done") == 1
    assert bench.contents() == local
    assert not catalogs.open(bench.out).failures()


def test_a_band_that_is_not_there_is_a_missing_band_a_named_file_is_not(bench: Bench, server: BadServer) -> None:
    server.always = {R[NAMES[0]]: 404}
    report = bench.scan([NAMES[0], "210.300", f"{server.url}/{R[NAMES[1]].replace('201', '211')}"], server.url)
    assert report.count("done") == 1
    rows = catalogs.open(bench.out).table(["bands_present", "detection_band"])
    assert set(rows["detection_band"]) == {"i"}
    assert {tile.tile: tile.code for tile in report.failed} == {
        "210.300": "tile.missing_file",
        "211.292": "tile.missing_file",
    }


def test_what_is_refused_is_not_asked_for_again(bench: Bench, server: BadServer) -> None:
    server.always = {R[NAMES[0]]: 403, R[NAMES[1]]: 401}
    report = bench.scan(NAMES, server.url)
    assert {tile.tile: tile.code for tile in report.failed} == dict.fromkeys(NAMES[:2], "remote.denied")
    assert server.asked[R[NAMES[0]]] <= 2


def test_a_file_that_is_bad_where_it_lies_is_named_by_its_address(bench: Bench, folder: Path, tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    whole = (folder / R[NAMES[0]]).read_bytes()
    (web / R[NAMES[0]]).write_bytes(whole[: len(whole) // 2])
    with serving(web) as server:
        report = bench.scan(NAMES[:1], server.url)
        assert report.failed[0].code == "tile.truncated"
        assert report.failed[0].message.startswith(f"{server.url}/{R[NAMES[0]]}")
        assert str(bench.scratch) not in report.failed[0].message


def test_few_tiles_are_on_the_disk_at_once_and_the_next_is_fetched_ahead(bench: Bench, server: BadServer) -> None:
    at_once: list[int] = []
    server.on_get = lambda name: at_once.append(len([p for p in bench.scratch.glob("*/*") if p.is_dir()]))
    bench.scan(NAMES * 3, server.url)
    assert max(at_once) == 2


@pytest.mark.parametrize("streams", [1, 8])
def test_an_interrupt_does_not_wait_for_a_server(
    bench: Bench, server: BadServer, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth tile's server says nothing more; the scan is stopped all the same, also with copies not yet begun."""
    monkeypatch.setattr(staging, "STREAMS", streams)
    hangs = threading.Event()
    reached = threading.Event()

    def stall(name: str) -> None:
        if name == R[NAMES[3]]:
            reached.set()
            hangs.wait()

    server.on_get = stall
    options = ScanOptions(readers=1, scratch=bench.scratch)
    run = make_run(UNIONS, bench.encoder, options)
    listed = tile_list.parse(clean(NAMES), UNIONS, server.url)

    class Stop(Quiet):
        done = 0

        def finished(self, report: object) -> None:
            self.done += 1
            if self.done == 3:  # now the scan waits for nothing but the fourth
                reached.wait()
                raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            scan_tiles(listed, UNIONS, bench.encoder, catalogs.create(bench.out, run), run, options, Stop())
    finally:
        hangs.set()  # which the scan did not wait for: it would be waiting still
    assert not list(bench.scratch.iterdir())


def test_a_full_scratch_ends_the_scan(bench: Bench, server: BadServer) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(ScannerError) as caught:
            bench.scan(NAMES, server.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.code == "output.full"
    assert not list(bench.scratch.iterdir())


def test_what_cannot_be_fetched_at_all(bench: Bench) -> None:
    report = bench.scan([f"qwerty://host/{R[NAMES[0]]}"], ".")
    assert [tile.code for tile in report.failed] == ["remote.unknown_scheme"]
    with pytest.raises(ScannerError) as caught:
        bench.scan(NAMES, "dbfs://nowhere/unions" if not _has("requests") else "gs://nowhere/unions")
    assert caught.value.code == "remote.not_installed"
    assert "unions-scanner[remote]" in caught.value.hint


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


VLS = """#!/bin/sh
[ -e "$SPACE/expired" ] && { echo "ERROR:: Unauthorized: certificate expired" >&2; exit 255; }
echo "$1" >> "$SPACE/listed"
[ -d "$SPACE/${1#vos:}" ] || { echo "ERROR:: NotFoundException: $1" >&2; exit 255; }
ls "$SPACE/${1#vos:}"
"""
VCP = """#!/bin/sh
echo "$1" >> "$SPACE/copied"
if rm "$SPACE/broken" 2>/dev/null; then echo half > "$2"; echo "ERROR:: Connection reset" >&2; exit 104; fi
[ -e "$SPACE/secret" ] && { echo "ERROR:: Can't access source: $1" >&2; exit 255; }
cp "$SPACE/${1#vos:}" "$2"
"""


@pytest.fixture
def space(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for vls and vcp on the PATH, and the folder that they show as vos:UNIONS/tiles."""
    space, programs = tmp_path / "space", tmp_path / "programs"
    programs.mkdir()
    (space / "UNIONS").mkdir(parents=True)
    (space / "UNIONS" / "tiles").symlink_to(folder)
    for name, text in (("vls", VLS), ("vcp", VCP)):
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SPACE", str(space))
    vospace.listings.clear()
    return space


def test_vospace_is_read_through_its_own_programs(bench: Bench, space: Path, local: dict[str, bytes]) -> None:
    (space / "broken").touch()
    report = bench.scan(NAMES, "vos:UNIONS/tiles")
    assert report.count("done") == len(NAMES)
    assert bench.contents() == local
    listed = (space / "listed").read_text().splitlines()
    assert len(listed) == len(set(listed))  # each folder once
    copied = (space / "copied").read_text().splitlines()
    assert len(copied) == sum(1 for _ in (space / "UNIONS" / "tiles").iterdir()) + 1


def test_an_expired_certificate_is_no_missing_band(bench: Bench, space: Path) -> None:
    (space / "expired").touch()
    report = bench.scan(NAMES[:1], "vos:UNIONS/tiles")
    assert [tile.code for tile in report.failed] == ["remote.denied"]
    (space / "expired").unlink()
    (space / "secret").touch()
    report = bench.scan([f"vos:UNIONS/tiles/{R[NAMES[0]]}"], ".")
    assert [tile.code for tile in report.failed] == ["remote.denied"]
    assert "cadc-get-cert" in report.failed[0].hint


@pytest.mark.parametrize(
    "said",
    [
        "HTTPSConnectionPool(host='ws.host', port=443): [Errno -2] Name or service not known",
        "vls: error while loading shared libraries: libssl.so.3: cannot open shared object file: No such file",
        "env: python: command not found",
        "Connection reset: vos:UNIONS/404.292",
    ],
)
def test_a_listing_that_breaks_is_no_missing_band(bench: Bench, tmp_path: Path, space: Path, said: str) -> None:
    (tmp_path / "programs" / "vls").write_text(f'#!/bin/sh\necho "ERROR:: {said}" >&2\nexit 2\n')
    report = bench.scan(NAMES[:1], "vos:UNIONS/tiles")
    assert [tile.code for tile in report.failed] == ["remote.broken"]
    assert said in report.failed[0].message


@pytest.mark.parametrize("said", ["NodeNotFound: $1", "404 Client Error: for url: https://host/nodes/$1"])
def test_a_node_that_is_not_there_is_a_missing_band(bench: Bench, tmp_path: Path, space: Path, said: str) -> None:
    (tmp_path / "programs" / "vls").write_text(f'#!/bin/sh\necho "ERROR:: {said}" >&2\nexit 2\n')
    report = bench.scan(NAMES[:1], "vos:UNIONS/tiles")
    assert [tile.code for tile in report.failed] == ["tile.missing_file"]


def test_a_listing_that_hangs_is_not_waited_for(space: Path, tmp_path: Path) -> None:
    """And asking whether it is there takes none of the processor's time."""
    (tmp_path / "programs" / "vls").write_text("#!/bin/sh\nexec sleep 3600\n")
    looks: list[float] = []

    def wait(seconds: float) -> None:
        looks.append(seconds)
        time.sleep(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vospace.copy(f"vos:UNIONS/tiles/{R[NAMES[0]]}", tmp_path / "copy", wait)
    assert min(looks) > 0


def test_vospace_without_its_programs(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScannerError) as caught:
        bench.scan(NAMES[:1], "vos:UNIONS/tiles")
    assert caught.value.code == "remote.not_installed"
    assert "AGPL" in caught.value.hint
