"""The documents of a version: model card, bill of materials and samples, published with its files.

    registry.write_version(manifest, judged, evidence=partial(evidence_of, store))
    mend(registry, version)                      # what is damaged of them is made again

They are made when the version is, from what is on record of it; from then on they are bytes with a digest,
as its weights are, whatever a later flowmap would write.
"""

from __future__ import annotations

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.manifest import MANIFEST_NAME
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import faults
from flowmap.audit.graph import outside_of, trace
from flowmap.documents.bill_of_materials import bill_of_materials
from flowmap.documents.model_card import model_card
from flowmap.registry import Registry, Version
from flowmap.registry.documents import Evidence, documents_prefix
from flowmap.registry.evaluation_result import SAMPLES, read_evaluated

CARD, BILL = "README.md", "bom.cdx.json"


def documents_of(store: ObjectStore, version: Version) -> dict[str, bytes]:
    """Their bytes by name. Raises IntegrityError where what they are made from is not in the store."""
    return {
        CARD: model_card(store, version, as_published=True).encode(),
        BILL: bill_of_materials(store, version).encode(),
        SAMPLES: read_evaluated(store, version.evaluation).samples,
    }


def evidence_of(store: ObjectStore, version: Version) -> Evidence:
    """Documents, who made what beneath, and what came from outside. Raises IntegrityError."""
    graph = trace(store, version)
    records = {node.digest: next(iter(node.records)) for node in graph.nodes.values() if node.records}
    return Evidence(documents_of(store, version), records, outside_of(graph, version))


def mend(registry: Registry, version: Version) -> list[str]:
    """Write again what is missing or changed of a version's documents; names what that was.

    One that comes to other bytes now, as another flowmap writes it, stays for `flowmap lineage verify` to
    tell.
    """
    if version.documents is None:
        return []
    prefix = documents_prefix(version)
    damaged = faults(registry.store, version.documents, prefix)
    if not damaged:
        return []
    made, mended = documents_of(registry.store, version), []
    if (own := f"{prefix}/{MANIFEST_NAME}") in damaged:
        registry.store.put(own, version.documents.to_bytes())
        mended.append(own)
    for entry in version.documents.files:
        data, name = made.get(entry.path, b""), f"{prefix}/{entry.path}"
        if name in damaged and sha256_of(data) == entry.sha256:
            registry.store.put(name, data)
            mended.append(name)
    return mended
