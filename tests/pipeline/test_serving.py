"""A registered model served by the open inference protocol: KServe's server and KServe's client, in an
environment of their own that has no torch and no flowmap."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowmap.exporting.kserve_folder import KSERVE
from flowmap.settings.yaml_text import read_yaml
from tests.cli import flowmap
from tests.environments import environment_with, free_port
from tests.pipeline.runs import Finished

CLIENT = """
import asyncio, json, sys
import numpy as np
from kserve import InferInput, InferRequest, InferenceRESTClient, RESTConfig

async def main():
    url, name = sys.argv[1:3]
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
    told = {"ready": await client.is_model_ready(url, name)}
    prompt = InferInput("prompt", [3], "BYTES", ["0", "1", "0"])
    seed = InferInput("seed", [3], "INT64", [5, 6, 5])
    for key, inputs in (("first", [prompt, seed]), ("again", [prompt, seed]), ("chance", [prompt])):
        answer = await client.infer(url, InferRequest(name, inputs), name)
        told[key] = answer.outputs[0].as_numpy().tolist()
        told["whose"] = answer.parameters
    wrong = {
        "prompt": [InferInput("prompt", [1], "BYTES", ["eleven"])],
        "seeds": [prompt, InferInput("seed", [1], "INT64", [5])],
        "input": [InferInput("text", [1], "BYTES", ["0"])],
        "many": [InferInput("prompt", [300], "BYTES", ["0"] * 300)],
        "none": [seed],
    }
    for key, inputs in wrong.items():
        try:
            await client.infer(url, InferRequest(name, inputs), name)
        except Exception as error:
            told[key] = f"{getattr(getattr(error, 'response', None), 'status_code', 0)} {error}"
    print(json.dumps(told))

asyncio.run(main())
"""
SCHEMA = r"""
import json, re, sys
import kserve.models as models
import kubernetes.client as kubernetes

def unknown(told, kind, at):
    if found := re.fullmatch(r"list\[(.*)\]", kind):
        return [each for i, item in enumerate(told) for each in unknown(item, found[1], f"{at}[{i}]")]
    if hasattr(models, kind):
        types, names = getattr(models, kind).openapi_types, getattr(models, kind).attribute_map
        known = {names[name]: types[name] for name in names}
        return [
            each
            for key, value in told.items()
            for each in (unknown(value, known[key], f"{at}.{key}") if key in known else [f"{at}.{key}"])
        ]
    if hasattr(kubernetes, kind):
        kept = kubernetes.ApiClient().sanitize_for_serialization(getattr(kubernetes, kind).from_dict(told))
        return [] if kept == told else [f"{at} is {told}, and Kubernetes keeps {kept}"]
    return [] if isinstance(told, {"int": int, "str": str, "float": float}[kind]) else [f"{at} is no {kind}"]

print(json.dumps(unknown(json.load(sys.stdin), "V1beta1InferenceService", "")))
"""


@pytest.fixture(scope="module")
def served(root: Path, first: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported folder."""
    folder = tmp_path_factory.mktemp("served") / "tiny"
    more = ("--format", "kserve", "--image", "registry.example/tiny:2", "--root", str(root))
    done = flowmap("models", "export", "tiny@2", str(folder), *more)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def python(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has what the folder's requirements name, and nothing else."""

    packages = (served / "requirements.txt").read_text().split()
    return environment_with(tmp_path_factory, "kserve", *packages) / "python"


@pytest.fixture
def address(served: Path, python: Path, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with (tmp_path / "log").open("w") as log:
        command = [str(python), str(served / "server.py"), f"--http_port={port}", "--enable_grpc=false"]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
        try:
            for _ in range(600):
                assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
                with socket.socket() as asked:
                    if asked.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def test_the_folder_says_how_it_is_built_run_and_asked(served: Path) -> None:
    service = read_yaml((served / "inferenceservice.yaml").read_text())
    (container,) = service["spec"]["predictor"]["containers"]
    assert container["image"] == "registry.example/tiny:2"
    assert container["securityContext"]["runAsNonRoot"] is True
    assert service["metadata"]["annotations"]["flowmap.dev/model"] == "tiny@2"
    copied = re.findall(r"^COPY (.*) /opt/model/$", (served / "Dockerfile").read_text(), re.MULTILINE)
    assert all((served / name).exists() for name in copied[0].split())
    assert "registry.example/tiny:2" in (served / "README.md").read_text()
    assert KSERVE in (served / "requirements.txt").read_text()


def test_kserve_s_own_client_is_served(served: Path, python: Path, address: str) -> None:
    name = json.loads((served / "config.json").read_text())["served_as"]
    command = [str(python), "-c", CLIENT, address, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["ready"] is True
    config = json.loads((served / "config.json").read_text())
    assert told["whose"] == {"model": "tiny@2", "digest": config["digest"]}
    first, again, chance = (np.array(told[key]) for key in ("first", "again", "chance"))
    assert first.shape == (3, 1, 8, 8)
    assert np.array_equal(first, again)
    assert np.array_equal(first[0], first[2])
    assert not np.allclose(first, chance)
    assert "400" in told["prompt"]
    assert "unknown prompt eleven; it knows 0, 1" in told["prompt"]
    assert "1 seeds for 3 samples" in told["seeds"]
    assert "unknown input text; there is prompt, context, seed" in told["input"]
    assert "300 samples: ask for 1 to 256 at once" in told["many"]
    assert "say for which prompt" in told["none"]


def test_what_is_served_is_what_the_graph_draws(served: Path, address: str, python: Path) -> None:
    import onnxruntime

    name = json.loads((served / "config.json").read_text())["served_as"]
    done = subprocess.run(
        [str(python), "-c", CLIENT, address, name], capture_output=True, text=True, timeout=120
    )
    drawn = np.array(json.loads(done.stdout.splitlines()[-1])["first"])
    noise = [np.random.default_rng(seed).standard_normal((1, 8, 8)) for seed in (5, 6, 5)]
    conditions = {name: table[[0, 1, 0]] for name, table in np.load(served / "conditions.npz").items()}
    session = onnxruntime.InferenceSession(served / "sampler.onnx")
    (expected,) = session.run(None, {"noise": np.stack(noise).astype(np.float32), **conditions})
    assert np.allclose(drawn, expected, atol=1e-5)


def test_the_manifest_is_kserve_s(served: Path, python: Path) -> None:
    service = read_yaml((served / "inferenceservice.yaml").read_text())

    def unknown(manifest: Any) -> list[str]:
        command, told = [str(python), "-c", SCHEMA], json.dumps(manifest)
        done = subprocess.run(command, input=told, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout)
        return found

    assert not unknown(service)
    service["spec"]["predictor"]["minReplica"] = 1
    assert unknown(service) == [".spec.predictor.minReplica"]
