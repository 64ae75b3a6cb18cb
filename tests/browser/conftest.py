"""One server on the shipped tile, in a process of its own, and one browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from scanner.cli.demo import DEMO
from tests.support import demo_site

MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", MAC))), None)
SCREENS = Path(__file__).parents[2] / "build" / "screens"
# Chromium without a screen has no mouse of its own, and buttons that show under a mouse would always be there.
MOUSE = "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
PATIENCE = 300_000  # ms; no busy machine comes near it
expect.set_options(timeout=PATIENCE)


class Server:
    """``scanner serve`` as a user starts it, which can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, with_catalogue: bool = True, project: Path | None = None, catalogue: Path | None = None) -> None:
        """Start it, and wait until it answers."""
        shown = ["--catalog", catalogue or self.folder / "embeddings", "--root", DEMO, "--like", lenses(self.folder)]
        given = shown if with_catalogue else ["--catalog", self.folder / "nothing"]
        arguments = [*given, "--project", project or self.folder / "hunt", "--port", self.port, "--inspector", "me"]
        command = [sys.executable, "-c", "from scanner.cli import main; main()", "serve", *map(str, arguments)]
        environment = {**os.environ, "SCANNER_TOKEN": demo_site.TOKEN, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        while True:
            assert self._process.poll() is None, "the server ended"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def ask(self, address: str, body: dict[str, Any] | None = None) -> Any:
        """Ask as a program does: GET, or POST where there is a body; the answer is JSON."""
        headers = {"Authorization": f"Bearer {demo_site.TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.address + address, data, headers)) as answer:
            return json.load(answer)

    def add_round(self, count: int) -> int:
        """Make a round of the objects most like the first lens, all cut; gives its number."""
        ra, dec = demo_site.lenses()[0]
        made = self.ask("/hunt/rounds", {"question": {"at": [f"{ra} {dec}"]}, "count": count})
        while self.ask("/hunt")["rounds"][0]["cut"] < count:
            time.sleep(0.1)
        return int(made["round"])


def lenses(folder: Path) -> Path:
    """The list of the user's own lenses."""
    listed = folder / "lenses.csv"
    if not listed.exists():
        listed.write_text("ra,dec\n" + "".join(f"{ra},{dec}\n" for ra, dec in demo_site.lenses()), encoding="utf-8")
    return listed


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    demo_site.scan(folder)
    made = Server(folder)
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "The tests of the page need chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", MOUSE], timeout=PATIENCE
        )
        yield made
        made.close()


@pytest.fixture
def open_page(server: Server, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the page in a window of its own; an error in its scripts, or of the server, fails the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def opened(
        address: str = "/search",
        width: int = 1440,
        theme: str = "dark",
        *,
        beside: Page | None = None,
        of: Server = server,
        **options: object,
    ) -> Page:
        if beside is None:
            # A narrow window is that of a phone.
            is_phone = width < 500
            size = {"width": width, "height": 844 if is_phone else 900}
            context = browser.new_context(
                viewport=size, color_scheme=theme, has_touch=is_phone, is_mobile=is_phone, **options
            )
            context.set_default_timeout(PATIENCE)
            context.add_cookies([{"name": f"scanner-{of.port}", "value": demo_site.TOKEN, "url": of.address}])
            contexts.append(context)
        else:
            # A further window of one browser shares its storage.
            context = beside.context
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        # 503 is no fault: a server that cannot write says so.
        page.on(
            "response",
            lambda one: errors.append(f"{one.status} {one.url}") if one.status >= 500 and one.status != 503 else None,
        )
        page.goto(of.address + address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def keep_screen() -> Callable[[Page, str], None]:
    """Keeps a picture of the page in ``build/screens``, for people to look at."""
    SCREENS.mkdir(parents=True, exist_ok=True)

    def keep(page: Page, name: str) -> None:
        page.screenshot(path=SCREENS / f"{name}.png", timeout=PATIENCE)

    return keep
