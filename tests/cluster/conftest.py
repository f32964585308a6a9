"""A real Kubernetes: whatever KUBECONFIG points to. Not part of `make test`; `make test-cluster` runs it.

KUBECONFIG               the cluster, with rights to make namespaces
FLOWMAP_TEST_HOST        the address under which its pods reach this machine, where the tests start a MinIO
FLOWMAP_TEST_IMAGES      a lock of images the nodes have or can pull (`cpu:` and `train:`, by digest), or
else FLOWMAP_TEST_LOAD_IMAGE  a command that puts an image archive onto the nodes and prints its reference by
digest
"""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from flowmap_pipelines.image_lock import Images, load_images
from tests.go_programs import HELM, go_program
from tests.minio_server import CREDENTIALS, MinioServer, minio_binary


def needed(variable: str, meaning: str) -> str:
    value = os.environ.get(variable)
    if not value:
        pytest.exit(f"{variable} is not set: {meaning}; see tests/cluster/conftest.py", returncode=1)
    return value


@pytest.fixture(scope="session")
def core() -> client.CoreV1Api:
    config.load_kube_config(needed("KUBECONFIG", "there is no cluster to test on"))
    return client.CoreV1Api()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    if lock := os.environ.get("FLOWMAP_TEST_IMAGES"):
        return load_images(Path(lock))
    command = shlex.split(needed("FLOWMAP_TEST_LOAD_IMAGE", "nothing says how an image gets onto the nodes"))
    builder = next(tool for tool in ("podman", "buildah", "docker") if shutil.which(tool))
    found = {}
    for name in ("cpu", "train"):
        archive = tmp_path_factory.mktemp("images") / f"{name}.tar"
        image = f"localhost/flowmap-{name}:latest"
        save = [builder, "save", "-o", str(archive), image]
        if builder == "buildah":
            save = [
                builder,
                "push",
                "--quiet",
                "--disable-compression",
                image,
                f"docker-archive:{archive}:{image}",
            ]
        subprocess.run(save, check=True)
        done = subprocess.run([*command, str(archive)], check=True, stdout=subprocess.PIPE, text=True)
        found[name] = done.stdout.split()[-1]
        archive.unlink()
    return Images.model_validate(found)


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MinIO on this machine that pods reach, its credentials in this process's environment too."""
    host = needed("FLOWMAP_TEST_HOST", "pods have to reach the store on this machine")
    server = MinioServer(minio_binary(), tmp_path_factory.mktemp("minio"), host)
    server.start()
    server.make_bucket("flowmap")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield f"s3://flowmap?endpoint={server.endpoint}"
    server.stop()


@pytest.fixture(scope="session")
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    """A namespace of the tests' own with both Secrets; pods in it may only be restricted ones."""
    name = f"flowmap-test-{os.getpid()}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace({"metadata": {"name": name, "labels": labels}})
    keys = dict(zip(("access-key", "secret-key"), CREDENTIALS.values(), strict=True))
    for secret in ("flowmap-store", "flowmap-registry"):
        core.create_namespaced_secret(name, {"metadata": {"name": secret}, "stringData": keys})
    yield name
    core.delete_namespace(name)


@pytest.fixture(scope="session")
def chart(
    core: client.CoreV1Api,
    namespace: str,
    images: Images,
    store_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """The chart, installed; a function that calls helm in its namespace."""
    helm = go_program(HELM)
    values = tmp_path_factory.mktemp("chart") / "values.yaml"
    endpoint = store_url.partition("endpoint=")[2]
    given = {"store": {"endpoint": endpoint}, "image": images.cpu, "training": {"enabled": True}}
    values.write_text(yaml.safe_dump(given))
    path = Path(__file__).parents[2] / "charts" / "flowmap"

    def call(verb: str, *options: str, package: Path | None = None) -> subprocess.CompletedProcess[str]:
        told = [str(package)] if package else [str(path), "--values", str(values)]
        told = told if verb in ("install", "upgrade") else []
        command = [str(helm), verb, "flowmap", *told, "--namespace", namespace, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    installed = call("install")
    assert installed.returncode == 0, installed.stderr
    yield call
    call("uninstall")


def run_cron_job(core: client.CoreV1Api, namespace: str, name: str) -> tuple[str, str]:
    """Start a CronJob now, and wait: the phase its pod ended in, and what it printed."""
    batch, own = client.BatchV1Api(), f"{name}-{time.time_ns() % 10**9}"
    spec = batch.read_namespaced_cron_job(name, namespace).spec.job_template.spec
    batch.create_namespaced_job(namespace, {"metadata": {"name": own}, "spec": spec})
    chosen = {"label_selector": f"batch.kubernetes.io/job-name={own}"}
    until = time.monotonic() + 60
    while not (pods := core.list_namespaced_pod(namespace, **chosen).items):
        assert time.monotonic() < until
        time.sleep(0.5)
    ended = wait_for_pod(core, namespace, pods[0].metadata.name)
    batch.delete_namespaced_job(own, namespace, propagation_policy="Background")
    return ended


def wait_for_pod(core: client.CoreV1Api, namespace: str, name: str, limit_s: float = 600) -> tuple[str, str]:
    """The phase a pod ended in, and what it printed."""
    until = time.monotonic() + limit_s
    while True:
        pod = core.read_namespaced_pod(name, namespace)
        if pod.status.phase in ("Succeeded", "Failed"):
            return pod.status.phase, core.read_namespaced_pod_log(name, namespace)
        assert time.monotonic() < until, f"{name} is {pod.status.phase}: {pod.status.conditions}"
        time.sleep(0.5)
