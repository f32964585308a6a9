"""What a version consists of and was made with, as a CycloneDX 1.6 bill of materials with its model card.

    text = bill_of_materials(store, version)        # JSON, the same whenever it is asked for

Components are the published files, the artifacts and outside data beneath, and the packages that were
installed where its weights were made; figures are performance metrics of the model card.

Source: CycloneDX 1.6 (cyclonedx.org), `machine-learning-model` and `modelCard`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import flowmap
from flowmap.artifacts.store import ObjectStore
from flowmap.audit.graph import Node, trace
from flowmap.lineage.sources import read_environment
from flowmap.registry import Version

_DATA = {"data_prep", "outside"}


def bill_of_materials(store: ObjectStore, version: Version) -> str:
    """JSON, sorted. Raises IntegrityError where what it is made from is not in the store."""
    graph = trace(store, version)
    made = graph.nodes[version.candidate]
    whole = version.manifest.digest
    beneath = [node for node in graph.nodes.values() if node.is_artifact and node.digest != whole]
    datasets = [node.digest for node in beneath if node.kind in _DATA]
    record = made.made_by
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
        "components": [*_artifacts(beneath), *_packages(installed)],
        "dependencies": [
            {"ref": whole, "dependsOn": sorted(_made_of(graph.nodes[whole]))},
            *(
                {"ref": node.digest, "dependsOn": sorted(set(node.inputs.values()))}
                for node in beneath
                if node.inputs
            ),
        ],
    }
    if record is not None:
        told["metadata"]["timestamp"] = record.finished_at
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


def _made_of(version: Node) -> set[str]:
    """Not of what it was judged by."""
    return {digest for name, digest in version.inputs.items() if name != "evaluation"}


def _artifacts(nodes: list[Node]) -> Iterator[dict[str, Any]]:
    for node in sorted(nodes, key=lambda node: (node.kind, node.digest)):
        yield {
            "type": "data" if node.kind in _DATA else "file",
            "bom-ref": node.digest,
            "name": node.label or node.kind,
            "hashes": [_hash(node.digest)],
        }


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
