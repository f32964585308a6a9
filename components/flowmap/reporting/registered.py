"""What another registry is told of a version."""

from __future__ import annotations

from dataclasses import dataclass

from flowmap.registry import Registry, Version


@dataclass(frozen=True)
class Told:
    """A version in words that any registry takes.

    Attributes:
        name, number: the version's own.
        uri: where its files lie.
        facts: digests and figures, by name; `flowmap.digest` is the same for no other version.
        aliases: which of them point to it.
        card: the model card.
    """

    name: str
    number: int
    uri: str
    facts: dict[str, str]
    aliases: tuple[str, ...]
    card: str

    @property
    def digest(self) -> str:
        return self.facts["flowmap.digest"]


def told_of(registry: Registry, version: Version, card: str) -> Told:
    """What is told of a version."""
    number = version.version
    facts = {
        "flowmap.version": f"{version.name}@{number}",
        "flowmap.digest": version.manifest.digest,
        "flowmap.candidate": version.candidate,
        "flowmap.evaluation": version.evaluation,
        "flowmap.role": version.role,
        **{f"flowmap.{name}": f"{value:.6g}" for name, value in sorted(version.figures.items())},
    }
    aliases = tuple(alias for alias, to in sorted(registry.aliases().items()) if to == number)
    uri = _uri(registry.store.url, registry.files_prefix(version))
    return Told(version.name, number, uri, facts, aliases, card)


def _uri(store: str, prefix: str) -> str:
    """A place in a bucket as others write it; a folder of a store on disk is nobody else's."""
    if store.startswith("s3://"):
        return f"{store.partition('?')[0].rstrip('/')}/{prefix}"
    return f"flowmap:{store.removeprefix('file://')}#{prefix}"
