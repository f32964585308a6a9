"""A registry's own tests publish what no pipeline made."""

from typing import Any

import pytest

from flowmap.registry.documents import Evidence


@pytest.fixture(autouse=True)
def nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents and statements are made from evidence, of which there is none here; the pipeline's tests
    have it."""

    def evidence_of(*_: Any) -> Evidence:
        return Evidence({"README.md": b"nothing is known of it"}, {}, {})

    monkeypatch.setattr("flowmap.documents.published.evidence_of", evidence_of)
    monkeypatch.setattr("flowmap.documents.published.documents_of", lambda *_: {})
    monkeypatch.setattr("flowmap.attestation.signing.attest", lambda *_: [])
