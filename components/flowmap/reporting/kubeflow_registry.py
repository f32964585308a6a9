"""A version in Kubeflow's Model Registry: what it is and where it lies; its files stay where they are.

    number = register(told_of(registry, version, card), "http://model-registry:8080")

The version's digest is its external id there, which no two may have: told again, it is found, and of two
who tell it at once one is refused. Aliases, which that registry has none of, are a property that follows.

Source: Model Registry's REST interface, v1alpha3 (github.com/kubeflow/model-registry).
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flowmap.errors import StoreError
from flowmap.reporting.registered import Told

_API = "/api/model_registry/v1alpha3"
_TIMEOUT_S = 30
_MISSING = 404


def register(told: Told, url: str) -> str:
    """The id that the registry gives the version, new or known.

    Raises StoreError where the server is away, or refuses.
    """
    server = _Server(url.rstrip("/"))
    model = server.one("registered_model", {"name": told.name}) or server.make(
        "registered_models", {"name": told.name, "description": "Few-step generators, made by flowmap."}
    )
    properties = _properties(told)
    version = server.one("model_version", {"externalId": told.digest})
    if version is None:
        version = server.make(
            "model_versions",
            {
                "name": str(told.number),
                "registeredModelId": model["id"],
                "externalId": told.digest,
                "description": told.card,
                "customProperties": properties,
            },
        )
    elif version.get("customProperties") != properties:
        server.ask("PATCH", f"model_versions/{version['id']}", {"customProperties": properties})
    artifacts = server.ask("GET", f"model_versions/{version['id']}/artifacts")
    if not artifacts["items"]:
        server.make(
            f"model_versions/{version['id']}/artifacts",
            {
                "artifactType": "model-artifact",
                "name": f"{told.name}-{told.number}",
                "uri": told.uri,
                "modelFormatName": "safetensors",
            },
        )
    return str(version["id"])


def _properties(told: Told) -> dict[str, Any]:
    facts = {**told.facts, "flowmap.aliases": ", ".join(told.aliases)}
    return {
        name: {"metadataType": "MetadataStringValue", "string_value": value} for name, value in facts.items()
    }


@dataclass(frozen=True)
class _Server:
    url: str

    def one(self, kind: str, by: dict[str, str]) -> dict[str, Any] | None:
        """The one that there is; None without one."""
        try:
            found: dict[str, Any] = self.ask("GET", f"{kind}?{urlencode(by)}")
        except _RefusedError as error:
            if error.status == _MISSING:
                return None
            raise
        return found

    def make(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """A new one."""
        made: dict[str, Any] = self.ask("POST", kind, body)
        return made

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the server answers. Raises StoreError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(f"{self.url}{_API}/{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = " ".join(error.read().decode(errors="replace").split())[:300]
            raise _RefusedError(
                f"the Model Registry at {self.url} answers {error.code}: {said}", error.code
            ) from None
        except (OSError, ValueError) as error:
            told = " ".join(str(error).split())[:200]
            raise StoreError(f"the Model Registry at {self.url} can't be reached: {told}") from None


class _RefusedError(StoreError):
    """The server answered that it can't."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
