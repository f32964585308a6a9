"""What a version consists of and was made with, as a CycloneDX 1.6 bill of materials with its model card.

    text = bill_of_materials(store, version)        # JSON, the same whenever it is asked for

Components are the published files, the artifacts beneath with data and models from outside, and the packages
that were installed where its weights were made; figures are performance metrics of the model card. What it
was held against, and what that was made of, is no component of it.

Source: CycloneDX 1.6 (cyclonedx.org), `machine-learning-model` and `modelCard`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import flowmap
from flowmap.artifacts.store import ObjectStore
from flowmap.audit.graph import Node, beneath, maker_of, outside_of, trace, used_by
from flowmap.lineage.sources import read_environment
from flowmap.registry import Version

# What artifacts call models of others that they are made of, and where the configuration names them.
_MODELS = {"checkpoint": ("base_training", "checkpoint"), "encoder": ("data_prep", "captioned", "encoder")}


def bill_of_materials(store: ObjectStore, version: Version) -> str:
    """JSON, sorted. Raises IntegrityError where what it is made from is not in the store."""
    graph = trace(store, version)
    made = graph.nodes[version.candidate]
    whole = version.manifest.digest
    below = [node for node in beneath(graph, version) if node.digest != whole]
    outside = outside_of(graph, version)
    kinds = {node.digest: _kind(node, outside) for node in below}
    datasets = [digest for digest, kind in kinds.items() if kind == "data"]
    record = maker_of(version, made)
    config = {} if record is None else record.config or {}
    installed = (
        "" if record is None or record.environment is None else read_environment(store, record.environment)
    )
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": whole,
        "name": version.name,
        "version": str(version.version),
        "components": [
            {"type": "file", "name": entry.path, "hashes": [_hash(entry.sha256)]}
            for entry in version.manifest.files
        ],
        "modelCard": {
            "modelParameters": {
                "approach": {
                    "type": "reinforcement-learning" if version.role == "tuned" else "self-supervised"
                },
                "task": "generation",
                "architectureFamily": "flow map",
                "datasets": [{"ref": digest} for digest in datasets],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    {"type": name, "value": str(value)} for name, value in sorted(version.figures.items())
                ]
            },
        },
    }
    told: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(version.manifest.digest[:32])}",
        "version": 1,
        "metadata": {
            "component": model,
            "tools": {
                "components": [{"type": "application", "name": "flowmap", "version": flowmap.__version__}]
            },
        },
        "components": [
            *(
                {
                    "type": kinds[node.digest],
                    "bom-ref": node.digest,
                    "name": outside.get(node.digest, node.step),
                    "hashes": [_hash(node.digest)],
                    **_on_the_hub(outside.get(node.digest), config),
                }
                for node in below
            ),
            *_packages(installed),
        ],
        "dependencies": [
            {"ref": whole, "dependsOn": sorted(_made_of(version, graph.nodes[whole]))},
            *(
                {"ref": node.digest, "dependsOn": sorted({*used.values()})}
                for node in below
                if (used := used_by(version, node))
            ),
        ],
    }
    if record is not None:
        told["metadata"]["timestamp"] = record.finished_at
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


def _made_of(version: Version, whole: Node) -> set[str]:
    """What is published, of the candidate; or where that is the candidate whole, of what it was made of."""
    return {*used_by(version, whole).values()} if whole.is_artifact else {version.candidate}


def _kind(node: Node, outside: Mapping[str, str]) -> str:
    """Of CycloneDX's: data that went in, a model of others, or a file."""
    named = outside.get(node.digest)
    if named in _MODELS:
        return "machine-learning-model"
    is_data = node.step == "data_prep" or (named is not None and not named.startswith("reward "))
    return "data" if is_data else "file"


def _on_the_hub(name: str | None, config: Mapping[str, Any]) -> dict[str, str]:
    """Name and commit of a model of others that was fetched from there, as a package URL has them."""
    told: Any = config
    for part in _MODELS.get(name or "", ()):
        told = (told or {}).get(part)
    if not told or not told.get("revision"):
        return {}
    return {"version": told["revision"], "purl": f"pkg:huggingface/{told['source']}@{told['revision']}"}


def _packages(installed: str) -> Iterator[dict[str, Any]]:
    """Of a list as pip reads one."""
    for line in installed.splitlines():
        name, is_one, number = line.partition("==")
        if not is_one or line.startswith("#"):
            continue
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{number}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": number, "purl": purl}


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}
