"""The exit handler: a summary whatever happened, and a notification without a secret in it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlflow
import pytest
from prometheus_client import generate_latest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.lineage.record import run_records
from flowmap.reporting.summary import end_again
from flowmap.reporting.webhook import notify
from flowmap.run_end import ending
from flowmap.run_end.ending import end_run
from flowmap.settings import RunConfig, environment
from flowmap_pipelines.prometheus import registry_of
from tests.faults import fault
from tests.minio_server import CREDENTIALS
from tests.records import record

SETTINGS = RunConfig(name="digits").to_json()
PUBLISHED = {"outcome": "published", "version": 4, "alias": "production"}


class Webhook(HTTPServer):
    """Keeps what it was told, and answers with `status`."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/secret-path"


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        self.server.told.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    server = Webhook()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setenv(environment.STORE, str(tmp_path))
    monkeypatch.setenv(environment.RUN_ID, "run-7")
    store = LocalStore(tmp_path)
    for step, reused in (("data_prep", True), ("registry_push", False)):
        record(store, step, f"{step}-made", reused=reused, wall_s=12.3)
    store.put(f"{artifact_prefix('registry_push-made')}/outcome.json", json.dumps(PUBLISHED).encode())
    return store


def summary(store: LocalStore) -> dict[str, object]:
    found: dict[str, object] = json.loads(store.get("runs/run-7/summary.json"))
    return found


@fault(
    "a run ends, is cancelled or fails",
    "the webhook, MLflow, and the summary in the store, by the exit handler",
    of="ends",
)
def test_a_run_that_is_done_is_summarised_and_told(
    store: LocalStore, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environment.WEBHOOK, webhook.url)
    end_run(SETTINGS, "COMPLETE")
    assert summary(store)["state"] == "done"
    assert summary(store)["version"] == 4
    (told,) = map(json.loads, webhook.told)
    assert told == {
        "text": "flowmap: digits published as digits@4; run run-7; data_prep reused, registry_push 12 s",
    }
    assert set(run_records(store, "run-7")) == {"data_prep", "registry_push"}  # the summary is none of them


@fault(
    "a run ends, is cancelled or fails",
    of="ends",
)
@pytest.mark.parametrize(("state", "outcome"), [("FAILED", "failed"), ("RUNNING", "cancelled")])
def test_a_run_that_failed_or_was_cancelled_is_told_so(store: LocalStore, state: str, outcome: str) -> None:
    end_run(SETTINGS, state)
    assert summary(store)["outcome"] == outcome
    assert "version" not in summary(store)


@fault(
    "a run ends and the webhook does not take it",
    "the exit handler's log, without the URL",
    of="ends",
)
def test_a_webhook_that_does_not_take_it_is_no_failure_and_stays_secret(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.status = 500
    for url in (webhook.url, "http://127.0.0.1:1/services/secret-path", "no url with secret-path"):
        monkeypatch.setenv(environment.WEBHOOK, url)
        notify("text")
    told = capsys.readouterr().err
    assert "answers 500" in told
    assert told.count("nobody was notified") == 3
    assert "secret-path" not in told


def test_metrics_count_every_run_once(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.GPUS, "8")
    registry = registry_of(store)
    end_run(SETTINGS, "COMPLETE")
    for run_id in ("run-8", "run-9"):
        monkeypatch.setenv(environment.RUN_ID, run_id)
        record(store, "grpo_finetuning", "o", wall_s=100)
        end_run(SETTINGS, "FAILED")
        text = generate_latest(registry).decode()
    assert 'flowmap_runs_total{model="digits",outcome="published"} 1.0' in text
    assert 'flowmap_runs_total{model="digits",outcome="failed"} 2.0' in text
    assert 'flowmap_steps_total{model="digits",reused="true",step="data_prep"} 1.0' in text
    assert 'flowmap_gpu_seconds_total{model="digits",step="grpo_finetuning"} 1600.0' in text


def test_a_run_that_is_retried_ends_twice_and_its_steps_count_once(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = registry_of(store)
    for state in ("FAILED", "COMPLETE"):
        end_run(SETTINGS, state)
        text = generate_latest(registry).decode()
    assert 'flowmap_runs_total{model="digits",outcome="failed"} 1.0' in text
    assert 'flowmap_runs_total{model="digits",outcome="published"} 1.0' in text
    assert 'flowmap_steps_total{model="digits",reused="false",step="registry_push"} 1.0' in text


def test_mlflow_is_told_of_a_retried_run(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(f"{artifact_prefix('tuned')}/curve.json", json.dumps([{"rollout": 1, "reward": 0.5}]).encode())
    record(store, "grpo_finetuning", "tuned")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # instead of a server
    monkeypatch.setenv(environment.MLFLOW_URI, (tmp_path / "mlruns").as_uri())
    for state in ("FAILED", "COMPLETE", "COMPLETE"):
        end_run(SETTINGS, state)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("digits")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["grpo_finetuning.rollouts"] == "60"
    assert run.data.tags["flowmap.outcome"] == "published"
    assert run.data.tags["flowmap.grpo_finetuning"] == "tuned"
    assert run.data.metrics == {"grpo.reward": 0.5}
    assert len(client.get_metric_history(run.info.run_id, "grpo.reward")) == 1


def test_an_mlflow_that_is_away_fails_nothing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(environment.MLFLOW_URI, "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    end_run(SETTINGS, "COMPLETE")
    assert "MLflow was not told of the run" in capsys.readouterr().err


@fault(
    "a run that had ended is retried, and is promoted or rejected",
    "the step behind the gate writes the summary anew and tells webhook and MLflow: Kubeflow runs"
    " the exit handler once",
    of="ends",
)
def test_a_retried_run_that_is_promoted_tells_so_itself(
    store: LocalStore, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubeflow runs the exit handler once: at the end that was a failure."""
    monkeypatch.setenv(environment.WEBHOOK, webhook.url)
    registry = registry_of(store)
    end_again(SETTINGS)
    assert not webhook.told  # the run ends for the first time: its exit handler will tell
    end_run(SETTINGS, "FAILED")
    generate_latest(registry)
    end_again(SETTINGS)
    assert (summary(store)["state"], summary(store)["outcome"]) == ("done", "published")
    assert "digits published as digits@4; run run-7" in json.loads(webhook.told[-1])["text"]
    assert 'flowmap_runs_total{model="digits",outcome="published"} 1.0' in generate_latest(registry).decode()


@fault(
    "a run ends while the store is away, or its Secret or ConfigMap is missing",
    "the webhook all the same, after 45 seconds, and that the summary was not written: both are "
    "optional for the exit handler's pod",
    of="ends",
)
@pytest.mark.parametrize(
    ("away", "why"),
    [
        ({environment.STORE: "s3://flowmap/x?endpoint=http://127.0.0.1:1"}, "can't be reached"),
        ({environment.STORE: None}, "where the store is was not told"),
        (
            {"AWS_ACCESS_KEY_ID": None, environment.STORE: "s3://flowmap/x?endpoint=http://x"},
            "needs credentials",
        ),
    ],
)
def test_people_are_told_whatever_else_fails(
    store: LocalStore,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    away: dict[str, str | None],
    why: str,
) -> None:
    """A store that is away, and a Secret or ConfigMap that is missing: both are optional for the handler."""
    monkeypatch.setattr(ending, "_SOON_S", 0.5)
    monkeypatch.setenv(environment.WEBHOOK, webhook.url)
    for name, value in {**CREDENTIALS, **away}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        end_run(SETTINGS, "FAILED")
    assert ended.value.code == 1
    (text,) = (json.loads(told)["text"] for told in webhook.told)
    assert text.startswith("flowmap: digits failed; run run-7; no step ended; its summary was not written: ")
    assert why in text


def test_a_run_whose_records_can_not_be_read_is_told_too(
    store: LocalStore, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect is no reason for silence; it shows its traceback after that."""
    monkeypatch.setenv(environment.WEBHOOK, webhook.url)
    outcome = f"{artifact_prefix('registry_push-made')}/outcome.json"
    store.put(outcome, b"[]")
    with pytest.raises(TypeError):
        end_run(SETTINGS, "COMPLETE")
    store.delete(outcome)
    with pytest.raises(SystemExit):  # what is no defect is told in a sentence alone
        end_run(SETTINGS, "COMPLETE")
    texts = [json.loads(told)["text"] for told in webhook.told]
    before = "flowmap: digits done; run run-7; no step ended; its summary was not written: "
    assert texts[0].startswith(f"{before}TypeError")
    assert texts[1].startswith(f"{before}{outcome} is missing in ")
