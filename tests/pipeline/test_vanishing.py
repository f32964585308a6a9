"""An object that is listed and gone when it is asked for, as when somebody deletes it in that moment: who
reads the store goes on without it or says which it was."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.store import ObjectStore
from flowmap.attestation.checking import check_statements
from flowmap.attestation.keys import new_key_pair, signer_of
from flowmap.attestation.signing import attest
from flowmap.audit.checking import check
from flowmap.audit.impact import impact
from flowmap.audit.unneeded import unneeded
from flowmap.documents.model_card import model_card
from flowmap.errors import FlowmapError
from flowmap.lineage.record import run_records
from flowmap.registry import Judged, Registry, Rejection
from flowmap_pipelines.model_list import list_models
from tests.faults import fault
from tests.pipeline.runs import Finished


class Vanishing(LocalStore):
    """One object is listed, and is not there."""

    gone = ""

    def get(self, name: str) -> bytes:
        if name == self.gone:
            raise KeyError(name)
        return super().get(name)

    def chunks(self, name: str) -> Iterator[bytes]:
        if name == self.gone:
            raise KeyError(name)
        yield from super().chunks(name)

    def exists(self, name: str) -> bool:
        return name != self.gone and super().exists(name)


def verify(store: ObjectStore) -> None:
    for version in Registry(store, "tiny").versions():
        check_statements(store, version, None, check(store, version))


def look_at_aliases(store: ObjectStore) -> None:
    registry = Registry(store, "tiny")
    registry.aliases(), registry.moves("production"), registry.rejections(), registry.attempts()


@pytest.fixture(scope="module")
def store(root: Path, first: Finished, tmp_path_factory: pytest.TempPathFactory) -> Vanishing:
    """A run's, signed, with a rejection."""
    found = Vanishing(root / "store")
    registry = Registry(found, "tiny")
    signer = signer_of(str(new_key_pair(tmp_path_factory.mktemp("keys"), "ours")[0]))
    for version in registry.versions():
        attest(found, version, signer)
    told = {name: getattr(registry.resolve("2"), name) for name in Judged.model_fields}
    registry.reject(Rejection(**told))
    return found


@fault(
    "an object is listed, and gone when it is asked for",
    "whoever reads goes on without it, or names it",
    of="writing",
)
@pytest.mark.parametrize("what", ["list", "verify", "impact", "gc", "card", "runs", "aliases"])
def test_an_object_that_is_listed_and_gone_is_told_or_does_without(
    store: Vanishing, first: Finished, what: str
) -> None:
    data = first.digests()["data_prep"]
    in_a_week = datetime.now(UTC) + timedelta(days=7)
    works: dict[str, Callable[[], object]] = {
        "list": lambda: list_models(store, None),
        "verify": lambda: verify(store),
        "impact": lambda: impact(store, data),
        "gc": lambda: unneeded(store, timedelta(days=1), in_a_week),
        "card": lambda: model_card(store, Registry(store, "tiny").resolve("2")),
        "runs": lambda: run_records(store, first.outcome["run_id"]),
        "aliases": lambda: look_at_aliases(store),
    }
    store.gone = ""
    works[what]()
    names = [name for folder in ("models", "lineage", "steps", "runs") for name in store.names(folder)]
    assert len(names) > 60
    wrong = {}
    for name in names:
        store.gone = name
        try:
            works[what]()
        except FlowmapError as error:
            if name.rsplit("/", 1)[-1] not in str(error):
                wrong[name] = str(error)
        except Exception as error:  # what a person would get as a traceback
            wrong[name] = repr(error)
    assert not wrong, "\n".join(f"{name}: {told}" for name, told in wrong.items())
