"""A registry's own tests publish what no pipeline made."""

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents and statements are made from evidence, of which there is none here; the pipeline's tests
    have it."""

    def documents_of(*_: Any) -> dict[str, bytes]:
        return {"README.md": b"nothing is known of it"}

    monkeypatch.setattr("flowmap.documents.published.documents_of", documents_of)
    monkeypatch.setattr("flowmap.attestation.signing.attest", lambda *_: [])
