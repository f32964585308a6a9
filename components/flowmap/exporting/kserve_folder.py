"""A folder to serve a model from, by KServe or by itself: the ONNX sampler, a server that speaks the open
inference protocol, an image to build and the InferenceService that runs it."""

from __future__ import annotations

import re
import shutil
from importlib import metadata
from pathlib import Path

from flowmap.asfmc import Policy
from flowmap.exporting.about import About
from flowmap.exporting.onnx_folder import write_onnx_folder
from flowmap.models import ModelFacts
from flowmap.models.model import Model
from flowmap.settings.yaml_text import write_yaml

KSERVE = "kserve==0.21.0"
_LONGEST = 63  # letters of a name in Kubernetes
_PORT = 8080
_USER = 65532
_SERVER = Path(__file__).with_name("kserve_server.py")
_DOCKERFILE = f"""\
# {{name}}, served. Nothing of it needs a GPU, torch or flowmap.
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends python3 python3-venv \\
 && rm -rf /var/lib/apt/lists/* \\
 && python3 -m venv /opt/server
COPY requirements.txt /opt/server/
RUN /opt/server/bin/pip install --quiet --no-cache-dir -r /opt/server/requirements.txt
COPY server.py config.json conditions.npz sampler.onnx /opt/model/
USER {_USER}
EXPOSE {_PORT}
ENTRYPOINT ["/opt/server/bin/python", "/opt/model/server.py"]
"""
_README = """# {name}, served

```sh
docker build --tag {image} . && docker push {image}
kubectl apply --filename inferenceservice.yaml
```

It speaks the open inference protocol, v2, for KServe's clients and Triton's:

```sh
curl --fail --header 'Content-Type: application/json' http://$HOST/v2/models/{served_as}/infer --data '
{{"inputs": [
  {{"name": "prompt", "datatype": "BYTES", "shape": [2], "data": ["{prompt}", "{prompt}"]}},
  {{"name": "seed", "datatype": "INT64", "shape": [2], "data": [0, 1]}}]}}'
```

`samples` comes back, FP32 of shape (2, {shape}). The same seed gives the same sample, and no seed chance.
{context}Without a cluster: `pip install -r requirements.txt && python server.py`, and `localhost:{port}`.
"""
_CONTEXT = "In the place of `prompt` it takes `context`, FP32, what is known before a forecast.\n"


def write_kserve_folder(
    model: Model,
    facts: ModelFacts,
    policy: Policy | None,
    about: About,
    image: str | None,
    folder: Path,
) -> None:
    """Leaves the ONNX sampler, `server.py`, its requirements, a Dockerfile and `inferenceservice.yaml`.

    Args:
        image: what the Dockerfile's image will be called; None is the model's name and version.

    Raises as `write_onnx_folder` does.
    """
    name, _, version = about.name.partition("@")
    service = _service_name(about.name)
    image = image or f"{_service_name(name)}:{version}"
    write_onnx_folder(model, facts, policy, about, folder, served_as=service)
    shutil.copyfile(_SERVER, folder / "server.py")
    own = [f"{each}=={metadata.version(each)}" for each in ("numpy", "onnxruntime")]
    (folder / "requirements.txt").write_text("\n".join([KSERVE, *own]) + "\n")
    (folder / "Dockerfile").write_text(_DOCKERFILE.format(name=about.name))
    (folder / "inferenceservice.yaml").write_text(write_yaml(_manifest(service, about, image)))
    readme = _README.format(
        name=about.name,
        image=image,
        served_as=service,
        prompt=facts.prompts[0],
        shape=", ".join(map(str, facts.shape)),
        context=_CONTEXT if facts.modality == "series" else "",
        port=_PORT,
    )
    (folder / "README.md").write_text(readme)


def _manifest(service: str, about: About, image: str) -> dict[str, object]:
    """The InferenceService (serving.kserve.io/v1beta1), unprivileged as all that flowmap runs."""
    probe = {"httpGet": {"path": f"/v2/models/{service}/ready", "port": _PORT}}
    container = {
        "name": "kserve-container",
        "image": image,
        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
        "readinessProbe": probe,
        "resources": {
            "requests": {"cpu": "500m", "memory": "512Mi"},
            "limits": {"cpu": "1", "memory": "1Gi"},
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": service,
            "annotations": {"flowmap.dev/model": about.name, "flowmap.dev/digest": about.digest},
        },
        "spec": {"predictor": {"minReplicas": 1, "containers": [container]}},
    }


def _service_name(name: str) -> str:
    """As Kubernetes takes one."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"m-{plain}")[:_LONGEST].rstrip("-")
