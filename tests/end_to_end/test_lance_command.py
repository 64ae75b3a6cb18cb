"""``scanner export lance``, and the commands that take its dataset; many servers of one dataset, of which one ends."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

import catalogs
from catalogs.lance import export
from scanner.cli.export.lance import lance
from tests.end_to_end.conftest import Scanner

pytest.importorskip("lance")

TOKEN = "a-token-of-the-tests"
SERVERS = 3
SERVE = """
import sys
from scanner.cli import main
main(["serve", "--catalog", sys.argv[1], "--port", "0", "--token", sys.argv[2]])
"""


@pytest.fixture(scope="module")
def dataset(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of the demo's catalogue, with an index."""
    out = tmp_path_factory.mktemp("lance") / "objects"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "FEWEST_INDEXED", 50)
        patch.setattr(export.tuning, "QUESTIONS", 20)
        export.export(catalogs.open(catalogue), out, export.LanceOptions(target=0.9))
    return f"lance:{out}"


def test_export_reports_what_it_wrote(scanner: Scanner, catalogue: Path, tmp_path: Path) -> None:
    command = ("export", "lance", tmp_path / "bright", "--catalog", catalogue, "--where", "mag_auto < 22")
    report = json.loads(scanner(*command, "--columns", "mag_auto,mag_r", "--float16", "-f", "json").out)
    assert report["rows"] > 0
    assert report["search"] is None
    again = scanner(*command, "--columns", "mag_auto,mag_r", "--float16").out
    assert f"{report['rows']:,} objects" in again
    assert "too few rows for an index" in again
    refused = scanner(*command)
    assert refused.code == 1
    assert "publish.not_empty" in refused.err


def test_verify_prints_recall(catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "FEWEST_INDEXED", 50)
    monkeypatch.setattr(export.tuning, "QUESTIONS", 20)
    command = [str(tmp_path / "all"), "--catalog", str(catalogue), "--target-recall", "0.5", "--verify"]
    text = CliRunner().invoke(lance, command, catch_exceptions=False).stdout
    assert "recall@10" in text
    assert "20 questions" in text
    report = json.loads(CliRunner().invoke(lance, [*command, "-f", "json"], catch_exceptions=False).stdout)
    assert report["verified"]["recall_at_10"]["value"] >= 0.5


def test_query_rank_outliers_and_info_take_a_dataset(
    scanner: Scanner, catalogue: Path, dataset: str, tmp_path: Path
) -> None:
    ids = json.loads(scanner("outliers", "--catalog", catalogue, "-k", 5, "-f", "json").out)
    assert json.loads(scanner("outliers", "--catalog", dataset, "-k", 5, "-f", "json").out) == ids
    one = ids[0]["object_id"]
    query = ("query", "--id", one, "-k", 5, "-f", "json", "--where", "mag_auto < 26 and is_primary")
    expected = json.loads(scanner(*query, "--catalog", catalogue).out)
    answer = json.loads(scanner(*query, "--catalog", dataset).out)
    assert [row["object_id"] for row in answer] == [row["object_id"] for row in expected]
    positions = tmp_path / "like.csv"
    positions.write_text("ra,dec\n" + "".join(f"{row['ra']},{row['dec']}\n" for row in ids), encoding="utf-8")
    ranked = ("rank", "--like", positions, "-k", 10, "-f", "json")
    first, second = (json.loads(scanner(*ranked, "--catalog", one).out) for one in (catalogue, dataset))
    assert [row["object_id"] for row in first] == [row["object_id"] for row in second]
    facts = json.loads(scanner("info", "--catalog", dataset, "--verify", "-f", "json").out)
    assert facts["damaged"] == []
    assert facts["search"]["recall"] >= 0.9


@pytest.mark.parametrize("command", ["index", "map", "publish out", "hunt out", "export lance out"])
def test_commands_for_folders_refuse_a_dataset_by_name(scanner: Scanner, dataset: str, command: str) -> None:
    done = scanner(*command.split(), "--catalog", dataset)
    assert done.code == 1
    assert "lance.not_supported" in done.err
    assert dataset in done.err


class RoundRobin(ThreadingHTTPServer):
    """One address for several servers: each request goes to the next that answers."""

    def __init__(self, ports: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.turn, self.ports, self.served = itertools.cycle(ports), ports, dict.fromkeys(ports, 0)


class _Forward(BaseHTTPRequestHandler):
    server: RoundRobin

    def do_GET(self) -> None:
        for port in itertools.islice(self.server.turn, len(self.server.ports)):
            headers = {name: self.headers[name] for name in ("Authorization", "Accept") if name in self.headers}
            request = urllib.request.Request(f"http://localhost:{port}{self.path}", headers=headers)
            try:
                with urllib.request.urlopen(request) as answer:
                    status, body = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, body = error.code, error.read()
            except OSError:
                continue
            self.server.served[port] += 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_error(502)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def servers(dataset: str) -> Iterator[dict[int, subprocess.Popen[str]]]:
    """Processes that serve the dataset, by port. They share nothing else."""
    command = [sys.executable, "-u", "-c", SERVE, dataset, TOKEN]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(SERVERS)]
    try:
        # The first line has the address, with the port that was free.
        lines = [one.stdout.readline() if one.stdout else "" for one in started]
        ports = [re.search(r"http://[^/]*:(\d+)", line) for line in lines]
        yield {int(port.group(1)): one for port, one in zip(ports, started, strict=True) if port is not None}
    finally:
        for one in started:
            one.kill()
            one.communicate()


def test_three_servers_share_a_dataset_and_go_on_when_one_is_killed(scanner: Scanner, dataset: str, servers) -> None:
    listed = json.loads(scanner("outliers", "--catalog", dataset, "-k", 6, "-f", "json").out)
    proxy = RoundRobin(list(servers))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()

    def ask(one: int) -> list[int]:
        """Ask for the neighbours of an object, at the one address."""
        address = f"http://127.0.0.1:{proxy.server_address[1]}/search?id={one}"
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return [row["object_id"] for row in json.load(answer)["rows"]]

    try:
        assert len(servers) == SERVERS
        before = [ask(row["object_id"]) for row in listed]
        assert all(proxy.served.values())
        killed, process = next(iter(servers.items()))
        process.kill()
        process.wait()
        counted = proxy.served[killed]
        assert [ask(row["object_id"]) for row in listed] == before
        assert proxy.served[killed] == counted
    finally:
        proxy.shutdown()
        proxy.server_close()
