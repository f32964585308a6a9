"""A version with its evidence as a folder: written where there is a store, read where there is another, with
no network between.

    write_bundle(store, version, folder)
    version = read_bundle(folder, store, trusted)

    README.md         the model card           samples.png, report.html    of its evaluation
    bom.cdx.json      the bill of materials    bundle.json                 which version it is
    store/            all that the version rests on, itself a store: `flowmap lineage verify --root FOLDER`
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.store import ObjectStore
from flowmap.attestation.checking import check_statements
from flowmap.attestation.trust import TrustedKeys
from flowmap.audit.carrying import carried, carry, is_taken, records_of, with_rivals
from flowmap.audit.checking import check
from flowmap.documents.bill_of_materials import bill_of_materials
from flowmap.documents.model_card import model_card
from flowmap.errors import ConfigError, IntegrityError
from flowmap.lineage.log import log_record
from flowmap.progress import say
from flowmap.registry import Registry, Version
from flowmap.registry.evaluation_result import REPORT, SAMPLES, read_evaluated
from flowmap.settings import ANCHOR
from flowmap_pipelines.run_section import report_of

_STORE, _ABOUT = "store", "bundle.json"
_CARD, _BILL = "README.md", "bom.cdx.json"
_BESIDE = (_CARD, _BILL, SAMPLES, REPORT)


class _About(BaseModel):
    model_config = ConfigDict(extra="forbid")
    schema_version: int = 1
    name: str
    beside: dict[str, str] | None = None  # digests of what people read, by name; None in older ones
    version: int


def write_bundle(store: ObjectStore, version: Version, folder: Path) -> None:
    """Write a version and all that it rests on below an empty folder.

    Raises IntegrityError where something of it is not what it was: nobody wants that in two places.
    """
    for each in with_rivals(store, version):
        _check_whole(store, each, None)
    inside = LocalStore(folder / _STORE)
    _carry_attempts(store, inside, version)
    for names in carried(store, version):
        carry(store, inside, names)
    _start_anchor(store, inside, version.name)
    evaluated = read_evaluated(store, version.evaluation)
    (folder / SAMPLES).write_bytes(evaluated.samples)
    (folder / REPORT).write_bytes(report_of(store, evaluated.report, version.evaluation))
    (folder / _CARD).write_text(model_card(store, version), encoding="utf-8")
    (folder / _BILL).write_text(bill_of_materials(store, version), encoding="utf-8")
    beside = {name: sha256_of((folder / name).read_bytes()) for name in _BESIDE}
    about = _About(name=version.name, version=version.version, beside=beside)
    (folder / _ABOUT).write_text(about.model_dump_json(indent=1))


def read_bundle(folder: Path, store: ObjectStore, trusted: TrustedKeys | None) -> Version:
    """Bring the version of a bundle into a store, under its own name and number.

    No alias moves, but for `anchor` in a store that has none of that name's. What is there already stays; an
    import that was cut off goes on.

    Args:
        trusted: one of these keys has to have signed it; None asks for no signature.

    Raises:
        ConfigError: that is no bundle, or the store has another version of that name and number.
        IntegrityError: something of it is not what it was, or no trusted key has signed it.
    """
    try:
        about = _About.model_validate_json((folder / _ABOUT).read_bytes())
    except (OSError, ValidationError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(
            f"{folder} is no bundle ({told}): `flowmap models export MODEL FOLDER --format bundle` makes one"
        ) from None
    _check_folder(folder, about)
    inside = LocalStore(folder / _STORE)
    version = Registry(inside, about.name).resolve(str(about.version))
    groups = carried(inside, version)
    for each in with_rivals(inside, version):
        _check_whole(inside, each, trusted if each == version else None)
        if is_taken(inside, store, each):
            raise ConfigError(
                f"{each.name}@{each.version} is another version in {store.url}: numbers are never given "
                "again, so import it into a store of its own"
            )
    _carry_attempts(inside, store, version)
    num = sum(carry(inside, store, names) for names in groups)
    for digest in records_of(inside, version):
        log_record(store, digest)
    say(f"{about.name}@{about.version}: {num} objects are new in {store.url}")
    _start_anchor(inside, store, about.name)
    _check_whole(store, version, trusted)
    return version


def _check_folder(folder: Path, about: _About) -> None:
    """Raise IntegrityError where something beside the store is not what it was, or a link leads out: what
    somebody sends must not read this machine's files."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise IntegrityError(f"{path} is no file and no folder: no bundle has links, so none is read")
    for name, digest in sorted((about.beside or {}).items()):
        file = folder / Path(name).name
        if not file.is_file() or sha256_of(file.read_bytes()) != digest:
            raise IntegrityError(f"{file} is not what it was, or gone: its sha256 is to be {digest[:12]}")


def _check_whole(store: ObjectStore, version: Version, trusted: TrustedKeys | None) -> None:
    audit = check(store, version)
    check_statements(store, version, trusted, audit)
    if audit.faults:
        told = "".join(f"\n  {fault.name} {fault.told}" for fault in audit.faults[:5])
        more = f"\n  and {len(audit.faults) - 5} more" if len(audit.faults) > 5 else ""
        raise IntegrityError(
            f"{version.name}@{version.version} in {store.url} is not what it was:{told}{more}"
        )


def _carry_attempts(source: ObjectStore, target: ObjectStore, version: Version) -> None:
    """Who had which attempt at the gate, for each that follows has a smaller chance; what is taken stays.

    Raises ConfigError where the attempt that one of these versions passed is another's there.
    """
    folder = f"models/{version.name}/attempts"
    needed = {f"{folder}/{each.trial}.json" for each in with_rivals(source, version)}
    for name in source.names(folder):
        if not target.exists(name):
            carry(source, target, [name])
        elif name in needed and target.get(name) != source.get(name):
            raise ConfigError(
                f"{name} in {target.url} is another candidate's attempt at the gate: import it into a store "
                "of its own"
            )


def _start_anchor(source: ObjectStore, target: ObjectStore, name: str) -> None:
    """What candidates of that name are held against, where nothing says so yet."""
    there = Registry(source, name)
    if ANCHOR in there.aliases() and ANCHOR not in Registry(target, name).aliases():
        Registry(target, name).start_alias(ANCHOR, there.resolve(ANCHOR))
