"""A real Kubeflow Pipelines: FLOWMAP_KFP_HOST. Not part of `make test`; `make test-kfp` runs it.

FLOWMAP_KFP_HOST         its API's URL, as pods reach it too: the chart's retraining asks it from one
FLOWMAP_KFP_NAMESPACE    where it runs pods, without those of anybody else's flowmap; `kubeflow` unless told
and all that tests/cluster/conftest.py names.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from flowmap_pipelines.image_lock import Images
from tests.cli import COMMAND

# Fixtures: pytest finds them by their names here, and a test's parameters are named like them.
from tests.cluster.conftest import core, images, needed, store_url  # noqa: F401
from tests.go_programs import HELM, go_program
from tests.minio_server import CREDENTIALS
from tests.pipeline.runs import CONFIG


class Flowmap:
    """The command line, as somebody who uses this Kubeflow has it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self._environment = folder, {**os.environ, **environment}

    def __call__(self, *words: str, status: int = 0) -> str:
        """What a command prints. It has to end with this status."""
        done = self.try_(*words)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stdout

    def try_(
        self, *words: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command, here = [*COMMAND, *words], {**self._environment, **(environment or {})}
        return subprocess.run(
            command, env=here, cwd=self.folder, capture_output=True, text=True, check=False, timeout=1500
        )

    def submit(self, *words: str, status: int = 0) -> dict[str, Any]:
        told = self("submit", "tiny.yaml", "--profile", "local", "--json", *words, status=status)
        found: dict[str, Any] = json.loads(told)
        return found


@pytest.fixture(scope="session")
def namespace() -> str:
    return os.environ.get("FLOWMAP_KFP_NAMESPACE", "kubeflow")


@pytest.fixture(scope="session")
def flowmap(
    core: client.CoreV1Api,  # noqa: F811
    namespace: str,
    images: Images,  # noqa: F811
    store_url: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Flowmap]:
    """The chart and its Secrets in Kubeflow's namespace, images' lock and the tiny configuration in a
    folder."""
    host = needed("FLOWMAP_KFP_HOST", "there is no Kubeflow Pipelines to test on")
    folder = tmp_path_factory.mktemp("user")
    keys = dict(zip(("access-key", "secret-key"), CREDENTIALS.values(), strict=True))
    secrets = ("flowmap-store", "flowmap-registry")
    for secret in secrets:
        core.create_namespaced_secret(namespace, {"metadata": {"name": secret}, "stringData": keys})
    endpoint = store_url.partition("endpoint=")[2]
    lock = f"cpu: {images.cpu}\ntrain: {images.train}\n"
    retraining = {
        "enabled": True,
        "schedule": "0 0 29 2 *",  # a test starts it by hand
        "kubeflow": host,
        "profile": "local",
        "config": CONFIG.replace("name: tiny", f"name: retrained-{time.time_ns()}"),
        "images": lock,
        "onlyOnChange": True,
    }
    given = {"store": {"endpoint": endpoint}, "image": images.cpu, "training": {"enabled": True}}
    given["retraining"] = retraining
    (folder / "values.yaml").write_text(yaml.safe_dump(given))
    helm = go_program(HELM)
    chart = Path(__file__).parents[2] / "charts" / "flowmap"
    release = [str(helm), "--namespace", namespace]
    subprocess.run(
        [*release, "install", "flowmap", str(chart), "--values", folder / "values.yaml"], check=True
    )
    (folder / "images").mkdir()
    (folder / "images" / "images.lock").write_text(lock)
    (folder / "tiny.yaml").write_text(CONFIG)
    environment = {"FLOWMAP_KFP_HOST": host, "FLOWMAP_NAMESPACE": namespace, "FLOWMAP_STORE": store_url}
    yield Flowmap(folder, environment)
    subprocess.run([*release, "uninstall", "flowmap"], check=True)
    for secret in secrets:
        core.delete_namespaced_secret(secret, namespace)
