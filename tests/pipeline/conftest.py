"""One whole run that every test of the pipeline starts from, made once for all processes of the session."""

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from flowmap.settings import environment
from tests.pipeline.runs import Finished, run
from tests.shared import made_once, session_folder

# What lies in the environment of a run and is nobody's business; that run needs none of it.
SECRETS = {
    name: f"hush-{name.lower()}"
    for name in (
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        environment.VLM_KEY,
        environment.HUB_TOKEN,
        environment.KUBEFLOW_TOKEN,
    )
} | {environment.WEBHOOK: "http://127.0.0.1:9/hush-webhook"}


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the first run: `root`, what it printed in `finished.json`, and what MLflow was told in
    `mlruns`."""

    def make(folder: Path) -> None:
        told = {"MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
        finished = run(folder / "root", environment={**told, **SECRETS})
        (folder / "finished.json").write_text(json.dumps(asdict(finished)))

    return made_once(session_folder(tmp_path_factory) / "first-run", make)


@pytest.fixture(scope="session")
def first(first_run: Path) -> Finished:
    """What the first run came to."""
    return Finished(**json.loads((first_run / "finished.json").read_text()))


@pytest.fixture(scope="module")
def root(first_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of its root for one file of tests."""
    copy = tmp_path_factory.mktemp("runs") / "root"
    shutil.copytree(first_run / "root", copy)
    return copy


@pytest.fixture(scope="session")
def mlruns(first_run: Path) -> dict[str, str]:
    """The environment of whoever looks at what MLflow was told."""
    return {"MLFLOW_TRACKING_URI": (first_run / "mlruns").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}


@pytest.fixture
def catalogue() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, and what it was sent; it takes everything but what is posted below /full."""
    taken: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_full = self.path.startswith("/full")
            if not is_full:
                taken.append(json.loads(body))
            self.send_response(422 if is_full else 201)
            self.end_headers()

        def log_message(self, *told: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", taken
        server.shutdown()
