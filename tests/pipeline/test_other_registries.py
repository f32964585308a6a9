"""A version told to the registries of others, each by its own server.

MLflow's is installed into an environment of its own. Kubeflow's Model Registry is a program in Go beside a
PostgreSQL: `FLOWMAP_MODEL_REGISTRY` names one that runs, and without it those tests are skipped.

    go build -o model-registry . && ./model-registry proxy --embedmd-database-type postgres \
        --embedmd-database-dsn "host=localhost user=postgres dbname=registry" --port 8080
"""

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flowmap.errors import StoreError
from flowmap.registry import Registry
from flowmap.reporting import kubeflow_registry, mlflow_registry
from flowmap.reporting.registered import Told, told_of
from tests.cli import flowmap as cli
from tests.environments import environment_with, free_port
from tests.pipeline.runs import Finished, registry


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the whole package mlflow, of the version that the client has."""

    programs = environment_with(tmp_path_factory, "mlflow", f"mlflow=={metadata.version('mlflow-skinny')}")
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(programs / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/db.sqlite", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=os.environ | {"PATH": path},
            start_new_session=True,
        )
        try:
            for _ in range(900):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                try:
                    with urllib.request.urlopen(f"{url}/health", timeout=2):
                        break
                except OSError:
                    time.sleep(0.1)
            yield url
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)


@pytest.fixture
def told(root: Path, first: Finished) -> Told:
    return told_of(registry(root), registry(root).resolve("2"), "# the card")


def test_mlflow_has_a_version_once_with_what_is_known_of_it(
    mlflow: str, root: Path, first: Finished, tmp_path: Path
) -> None:
    told = ("models", "register", "tiny@2", "--mlflow", mlflow)
    for _ in range(2):
        done = cli(*told, "--root", str(root))
        assert done.returncode == 0, done.stderr
        assert f"tiny@2 is 1 in MLflow at {mlflow}" in done.stdout
    client, version = MlflowClient(mlflow), registry(root).resolve("2")
    (found,) = client.search_model_versions("name = 'tiny'")
    assert found.tags["flowmap.digest"] == version.manifest.digest
    assert float(found.tags["flowmap.judge_accuracy"]) == pytest.approx(
        version.figures["judge_accuracy"], 1e-4
    )
    assert found.description.startswith("---\nlibrary_name: flowmap")
    assert version.manifest.digest in found.source
    assert client.get_model_version_by_alias("tiny", "production").version == found.version
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    there = ("--root", str(tmp_path / "root"))
    assert cli("models", "promote", "tiny@1", "--reason", "for the test", *there).returncode == 0
    assert "tiny@1 is 2 in MLflow" in cli("models", "register", "tiny@1", "--mlflow", mlflow, *there).stdout
    assert client.get_model_version_by_alias("tiny", "production").version == "2"


def test_a_server_that_is_away_or_refuses_is_told(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match=r"^MLflow at http://127.0.0.1:9 did not take tiny@2: "):
        mlflow_registry.register(told, "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"^the Model Registry at http://127.0.0.1:9 can't be reached"):
        kubeflow_registry.register(told, "http://127.0.0.1:9/")


def test_where_files_lie_is_written_as_others_write_it(root: Path, first: Finished, told: Told) -> None:
    version = registry(root).resolve("2")
    assert told.uri == f"flowmap:{root}/store#models/tiny/files/{version.manifest.digest}"

    class Elsewhere:
        url = "s3://bucket/prefix?endpoint=http://minio:9000"

        def names(self, prefix: str) -> Iterator[str]:
            return iter(())

    store: Any = Elsewhere()
    assert told_of(Registry(store, "tiny"), version, "").uri == (
        f"s3://bucket/prefix/models/tiny/files/{version.manifest.digest}"
    )


@pytest.mark.skipif("FLOWMAP_MODEL_REGISTRY" not in os.environ, reason="no Model Registry runs here")
def test_kubeflow_has_a_version_once_with_what_is_known_of_it(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    url = os.environ["FLOWMAP_MODEL_REGISTRY"]
    said = set()
    for _ in range(2):
        done = cli("models", "register", "tiny@2", "--kubeflow", url, "--root", str(root))
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1
    version = registry(root).resolve("2")
    server = kubeflow_registry._Server(url)
    found = server.one("model_version", {"externalId": version.manifest.digest})
    assert found is not None
    assert found["name"] == "2"
    properties = {name: each["string_value"] for name, each in found["customProperties"].items()}
    assert properties["flowmap.candidate"] == version.candidate
    assert properties["flowmap.aliases"] == "production"
    (artifact,) = server.ask("GET", f"model_versions/{found['id']}/artifacts")["items"]
    assert version.manifest.digest in artifact["uri"]
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    there = ("--root", str(tmp_path / "root"))
    assert cli("models", "promote", "tiny@1", "--reason", "for the test", *there).returncode == 0
    assert cli("models", "register", "tiny@2", "--kubeflow", url, *there).returncode == 0
    again = server.one("model_version", {"externalId": version.manifest.digest})
    assert again is not None
    assert again["customProperties"]["flowmap.aliases"]["string_value"] == ""
    assert again["id"] == found["id"]
