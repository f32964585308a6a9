"""The page that draws from a model, as a static server serves it to a browser.

The fixture `runtime` is in conftest.py.
"""

import contextlib
import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from flowmap.exporting.web import RUNTIME
from tests.shared import made_once, session_folder


def fetched_runtime(factory: pytest.TempPathFactory) -> Path:
    """The package that runs graphs in a browser, as npm fetches it."""
    if shutil.which("npm") is None:
        pytest.skip("no npm")

    def fetch(folder: Path) -> None:
        command = ["npm", "pack", RUNTIME, "--silent"]
        try:
            subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm can't fetch {RUNTIME}: {str(error.stderr).strip()[-200:]}")

    folder = made_once(session_folder(factory) / "npm", fetch)
    return next(folder.glob("*.tgz"))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The folder's address while it is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *told: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Visit:
    """What a page that is visited asked for, and complained of."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        page.on("request", lambda request: self.asked.append(request.url))

    def check(self, url: str) -> None:
        """Nothing went wrong, and nothing came from elsewhere."""
        assert self.errors == []
        elsewhere = [each for each in self.asked if not each.startswith((url, "data:", "blob:"))]
        assert not elsewhere
