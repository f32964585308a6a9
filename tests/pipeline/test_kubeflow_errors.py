"""What the commands say when Kubeflow or the command line is not as it should be; what it says otherwise is
real, in tests/kubeflow.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flowmap.errors import ConfigError
from flowmap_pipelines.kubeflow.cron import six_fields
from tests.cli import flowmap
from tests.faults import fault
from tests.pipeline.test_compiled import IMAGES

HEALTHY = {"multi_user": False}


class Server(HTTPServer):
    """Answers each path that begins with a key with its status and body; the health check unless told."""

    def __init__(self, **answers: tuple[int, Any]) -> None:
        self.answers = {"healthz": (200, HEALTHY), **answers}
        self.tokens: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers.get("authorization"))
        name = self.path.partition("?")[0].removeprefix("/apis/v2beta1/").partition("/")[0]
        status, body = self.server.answers.get(name, (404, {"message": f"no {name}"}))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Any]:
    servers = []

    def start(**answers: tuple[int, Any]) -> Server:
        servers.append(Server(**answers))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "images.lock"
    path.write_text(f"cpu: {IMAGES.cpu}\ntrain: {IMAGES.train}\n")
    return path


def told(*words: str, status: int, environment: dict[str, str] | None = None) -> str:
    """What a command says that ends with this status; never a traceback."""
    done = flowmap(*words, environment={"KUBECONFIG": "/none", **(environment or {})})
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_nobody_says_where_kubeflow_is() -> None:
    assert "Give --kubeflow URL or set FLOWMAP_KFP_HOST" in told("status", status=2)
    assert "begins with http:// or https://" in told("status", "--kubeflow", "kfp:8888", status=2)


def test_kubeflow_is_not_there() -> None:
    assert "http://127.0.0.1:1 can't be reached" in told(
        "status", "--kubeflow", "http://127.0.0.1:1", status=1
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses this account (401): put a valid token into FLOWMAP_KFP_TOKEN; it says: who are you"),
        (403, "refuses this account (403)"),
        (500, "answers 500: who are you"),
        (503, "answers 503"),
    ],
)
def test_kubeflow_refuses_or_is_broken(serve: Any, status: int, words: str) -> None:
    server = serve(healthz=(status, {"message": "who are you"}))
    environment = {"FLOWMAP_KFP_TOKEN": "very-secret"}
    said = told("status", "--kubeflow", server.url, status=1, environment=environment)
    assert words in said
    assert "very-secret" not in said
    assert server.tokens == ["Bearer very-secret"]


def test_a_run_that_is_not_there(serve: Any) -> None:
    assert "has nothing of that name (404)" in told("status", "nix", "--kubeflow", serve().url, status=1)


def test_a_run_that_has_not_failed_is_not_retried(serve: Any) -> None:
    run = {
        "run_id": "r",
        "display_name": "digits",
        "state": "SUCCEEDED",
        "created_at": "2026-01-01T00:00:00Z",
    }
    server = serve(runs=(200, run))
    assert "run r is done: nothing of it has failed" in told(
        "retry", "r", "--kubeflow", server.url, status=2
    )


def test_a_multi_user_kubeflow_wants_a_namespace(serve: Any) -> None:
    server = serve(healthz=(200, {"multi_user": True}))
    assert "say whose namespace with --namespace" in told("status", "--kubeflow", server.url, status=2)


def test_the_pipelines_name_is_taken(serve: Any, lock: Path) -> None:
    taken = {"pipeline_id": "7", "display_name": "digits", "description": "somebody's"}
    server = serve(pipelines=(200, {"pipelines": [taken]}))
    words = ("submit", "examples/digits.yaml", "--images", str(lock), "--kubeflow", server.url)
    assert "a pipeline named digits that flowmap did not make" in told(*words, status=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--idempotency-key", "no spaces"), "a key has letters, digits"),
        (("--idempotency-key", "k", "--on-change"), "one of them says when a run is the same"),
        (("--markdown", "x.md"), "only with --wait"),
        (("--profile", "cluster-tpu"), "the known profiles are"),
    ],
)
def test_a_wrong_submission(serve: Any, lock: Path, words: tuple[str, ...], said: str) -> None:
    common = ("submit", "examples/digits.yaml", "--images", str(lock), "--kubeflow", serve().url)
    assert said in told(*common, *words, status=2)


def test_only_data_in_a_store_can_be_watched_for_a_change(serve: Any, lock: Path) -> None:
    words = ("schedule", "examples/digits.yaml", "--cron", "0 3 * * *", "--images", str(lock))
    said = told(*words, "--on-change", "digits", "--kubeflow", serve().url, status=2)
    assert "--on-change digits: not in a store; say s3://" in said


@fault(
    "Kubeflow does not answer",
    "`submit`, `schedule` and what follows a run",
    "the patience; the start of a run is not repeated",
    "the command fails with status 1",
    of="servers",
)
def test_a_cluster_that_is_away_does_not_keep_a_person_waiting(tmp_path: Path) -> None:
    """What is kept of the node's log is asked for at once, instead of its pod."""
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c", "user": ""}}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps({"clusters": [cluster], "contexts": [context], "current-context": "c"}))
    words = ("logs", "r", "grpo_finetuning", "--node", "1", "--root", str(tmp_path))
    said = told(*words, status=2, environment={"KUBECONFIG": str(kubeconfig)})
    assert "asking again" not in said
    assert "no pod of its training job is there" in said


def test_without_a_lock_of_images_it_says_how_to_make_one(serve: Any, tmp_path: Path) -> None:
    words = ("submit", "examples/digits.yaml", "--images", str(tmp_path / "none"), "--kubeflow", serve().url)
    assert "it names the images that pods run, by digest" in told(*words, status=2)


@pytest.mark.parametrize(
    ("five", "six"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("*/20 * * * *", "0 */20 * * * *"),
        ("0 3 * * 5-7", "0 0 3 * * 0,5,6"),
        ("0 0 * JUL WED", "0 0 0 * JUL WED"),
    ],
)
def test_five_fields_become_kubeflows_six(five: str, six: str) -> None:
    assert six_fields(five)[0] == six


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("0 3 * *", "has 4 fields; it takes five"),
        ("CRON_TZ=Europe/Paris 0 3 * * *", "are in UTC and take no CRON_TZ=Europe/Paris; the chart"),
        ("0 0 3 * * *", "has 6 fields"),
        ("0 0 31 2 *", "is no time that ever comes"),
        ("0 25 * * *", "is no time that ever comes: Bad hour"),
        ("0 0 L * *", "does not know 'L' as day of the month"),
    ],
)
def test_a_time_that_never_comes_is_refused(wrong: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        six_fields(wrong)
    assert said in str(refused.value)
