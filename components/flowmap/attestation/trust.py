"""Which keys are trusted, and until when.

    trusted = read_trusted("trusted.yaml")          # or one public key, key.pub
    trusted.refusal(signed, date.today())           # None where a trusted key signed it; else why not

A file of trusted keys:

    keys:
      - key: ours-2026.pub              # a PEM file beside this one, or the text itself
        until: 2027-03-31               # the last day on which it is trusted
      - key: ours-2027.pub
      - key: laptop.pub
        revoked: stolen in May          # nothing that it ever signed is trusted

A date is held against the day on which somebody asks, not against one that a signature claims: whoever finds
an old key could claim any. So before a key's last day, what still counts is signed with the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from securesystemslib.signer import SSlibKey

from flowmap.attestation.envelopes import Signed, is_signed_by
from flowmap.attestation.keys import read_public_key
from flowmap.errors import ConfigError
from flowmap.settings.messages import explain
from flowmap.settings.yaml_text import YamlTextError, read_yaml

_PEM = "-----BEGIN"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: str
    until: date | None = None
    revoked: str | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: list[_Entry] = Field(min_length=1)


@dataclass(frozen=True)
class TrustedKey:
    """A public key and how far it is trusted.

    Attributes:
        name: of its file, for people.
        until: the last day on which it is; None for ever.
        revoked: why it never is; None where it is.
    """

    key: SSlibKey
    name: str
    until: date | None = None
    revoked: str | None = None

    def refusal(self, today: date) -> str | None:
        """Why it is not trusted on a day; None where it is."""
        if self.revoked is not None:
            return f"is revoked: {self.revoked}"
        if self.until is not None and today > self.until:
            return f"was trusted until {self.until}"
        return None


@dataclass(frozen=True)
class TrustedKeys:
    """Keys, any one of which is enough."""

    keys: tuple[TrustedKey, ...]

    def refusal(self, signed: list[Signed], today: date) -> str | None:
        """Why none of these envelopes has a signature that is trusted on a day; None where one has."""
        reasons = []
        for trusted in self.keys:
            sealed = [each for each in signed if trusted.key.keyid in each.key_ids]
            if not sealed:
                continue
            whole = any(is_signed_by(each, trusted.key) for each in sealed)
            why = trusted.refusal(today) if whole else "signed other bytes"
            if why is None:
                return None
            reasons.append(f"{trusted.name} ({trusted.key.keyid[:12]}) {why}")
        known = {trusted.key.keyid for trusted in self.keys}
        strangers = sorted({each for one in signed for each in one.key_ids} - known)
        reasons += [f"{each[:12]} is none of the trusted keys" for each in strangers]
        return "; ".join(reasons) or "nobody signed it"

    def forged(self, signed: Signed) -> list[str]:
        """Ids of known keys that an envelope names and that did not sign its bytes."""
        return [
            trusted.key.keyid
            for trusted in self.keys
            if trusted.key.keyid in signed.key_ids and not is_signed_by(signed, trusted.key)
        ]


def read_trusted(path: str | Path) -> TrustedKeys:
    """One public key, or a file of trusted keys. Raises ConfigError where it is neither."""
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"trusted keys {path}: can't be read: {str(error).splitlines()[0]}") from None
    if text.lstrip().startswith(_PEM):
        return TrustedKeys((TrustedKey(read_public_key(path), path.name),))
    try:
        told = _File.model_validate(read_yaml(text))
    except YamlTextError as error:
        raise ConfigError(f"trusted keys {path}: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"trusted keys {path}: {explain(error, _File, 'the file')}") from None
    found = tuple(_trusted(entry, path.parent) for entry in told.keys)
    ids = [each.key.keyid for each in found]
    for each in found:
        if ids.count(each.key.keyid) > 1:
            raise ConfigError(f"trusted keys {path}: {each.key.keyid[:12]} ({each.name}) stands there twice")
    return TrustedKeys(found)


def _trusted(entry: _Entry, folder: Path) -> TrustedKey:
    if not entry.key.lstrip().startswith(_PEM):
        path = folder / Path(entry.key).expanduser()
        return TrustedKey(read_public_key(path), path.name, entry.until, entry.revoked)
    try:
        key = SSlibKey.from_crypto(load_pem_public_key(entry.key.encode()))
    except ValueError as error:
        raise ConfigError(f"a trusted key can't be read: {str(error).splitlines()[0]}") from None
    return TrustedKey(key, "key", entry.until, entry.revoked)
