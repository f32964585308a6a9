"""Whether there is a key where one is asked for."""

from __future__ import annotations

import importlib
import os

from flowmap.errors import ConfigError
from flowmap.settings import environment
from flowmap.settings.sections import RegistryPush


def check_key(section: RegistryPush) -> None:
    """Raise ConfigError where what is published has to be signed and the environment names no key, or where
    the key that it names can't be read: before hours are spent."""
    key = os.environ.get(environment.SIGNING_KEY)
    if key:
        importlib.import_module("flowmap.attestation.keys").signer_of(key)
    elif section.publish and section.require_signature:
        raise ConfigError(
            f"registry_push.require_signature is true, and {environment.SIGNING_KEY} names no key: set it "
            "to a PEM file (`flowmap keys new` makes one), or make the Secret flowmap-signing on a cluster"
        )
