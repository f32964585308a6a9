"""A version in MLflow's model registry: what it is and where it lies; its files stay where they are.

    number = register(told_of(registry, version, card), "http://mlflow:5000")

Told again it is found by its digest, and only its aliases follow.
"""

from __future__ import annotations

from typing import Any

from flowmap.errors import ConfigError, StoreError
from flowmap.reporting.registered import Told

_LONGEST = 5000  # of a tag's value; the card is a description, which may be longer


def register(told: Told, url: str) -> str:
    """The number that MLflow gives the version, new or known.

    Raises:
        ConfigError: mlflow is not installed.
        StoreError: the server is away, or refuses.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise ConfigError("mlflow is not installed: pip install 'flowmap[mlflow]'") from None
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    try:
        return _register(client, told)
    except MlflowException as error:
        gist = " ".join(str(error).split())[:300]
        raise StoreError(f"MLflow at {url} did not take {told.name}@{told.number}: {gist}") from None


def _register(client: Any, told: Told) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(told.name, description="Few-step generators, made by flowmap.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = client.search_model_versions(f"name = '{told.name}' and tags.`flowmap.digest` = '{told.digest}'")
    if known:
        number = str(min(int(each.version) for each in known))
    else:
        tags = {name: value[:_LONGEST] for name, value in told.facts.items()}
        made = client.create_model_version(told.name, told.uri, tags=tags, description=told.card)
        number = str(made.version)
    for alias in told.aliases:
        client.set_registered_model_alias(told.name, alias, number)
    return number
