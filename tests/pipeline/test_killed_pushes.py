"""A push, a rejection and an alias's move are killed at every one of their writes: what is there is the old
state or the new one, whole, and the same again ends as if nothing had been."""

import os
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import parse_manifest
from flowmap.artifacts.transfer import artifact_prefix, fetch_artifact
from flowmap.attestation.checking import check_statements, refusal_of_alias
from flowmap.attestation.envelopes import envelopes
from flowmap.attestation.keys import new_key_pair, signer_of
from flowmap.attestation.signing import signing_moves
from flowmap.attestation.trust import TrustedKeys, read_trusted
from flowmap.audit.checking import check
from flowmap.audit.unneeded import unneeded
from flowmap.lineage.edges import makers
from flowmap.lineage.statement import folder_of_run
from flowmap.registry import Registry
from flowmap.registry_push import step
from flowmap.settings import environment
from flowmap.settings.sections import Publication
from flowmap.steps.context import Context
from tests.faults import fault
from tests.pipeline.runs import Finished

MOST_WRITES = 200


class Killed(BaseException):
    """What no code catches."""


class DyingStore(LocalStore):
    """A store whose process dies at its n-th write, before or after it is done."""

    left: int = MOST_WRITES
    done_first = False

    def _write(self, name: str, chunks: Iterable[bytes], *, replace: bool) -> bool:
        self.left -= 1
        if self.left >= 0:
            return super()._write(name, chunks, replace=replace)
        if self.left == -1 and self.done_first:
            super()._write(name, chunks, replace=replace)
        raise Killed


@pytest.fixture
def before(root: Path, first: Finished, tmp_path: Path) -> Path:
    """A store as it was before anything of it was published."""
    shutil.copytree(root / "store", tmp_path / "before")
    shutil.rmtree(tmp_path / "before" / "models")
    return tmp_path / "before"


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrustedKeys:
    """What is published is signed by this key."""
    private, public = new_key_pair(tmp_path / "keys", "ours")
    monkeypatch.setenv(environment.SIGNING_KEY, str(private))
    monkeypatch.setenv(environment.RUN_ID, "the-run")
    return read_trusted(public)


def push(store: LocalStore, made: dict[str, str], scratch: Path, work: Callable[..., None]) -> None:
    """The last step of the first run, on what its steps had made."""
    steps = {"base": "base_training", "tuned": "grpo_finetuning", "evaluation": "evaluation"}
    digests = {name: made[each] for name, each in steps.items()}
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "out").mkdir(parents=True)
    reading = LocalStore(store.root)
    for name, digest in digests.items():
        fetch_artifact(reading, digest, scratch / name)
    manifests = {
        name: parse_manifest(reading.get(f"{artifact_prefix(digest)}/manifest.json"), where=name)
        for name, digest in digests.items()
    }
    context = Context(
        section=Publication(name="tiny"),
        inputs={name: scratch / name for name in digests},
        manifests=manifests,
        told={},
        made_by="code",
        out=scratch / "out",
        checkpoints=Checkpoints(store, "checkpoints/registry_push/x"),
        store=store,
        scratch=scratch,
        train=lambda trainings: None,
    )
    work(context)


def state(store: LocalStore) -> dict[str, Any]:
    """What whoever uses models sees of the registry."""
    registry = Registry(store, "tiny")
    return {
        "versions": [each.model_dump(mode="json") for each in registry.versions()],
        "aliases": registry.aliases(),
        "rejected": [each.candidate for each in registry.rejections()],
    }


def check_whole(store: LocalStore, trusted: TrustedKeys) -> None:
    """All that an alias leads to is as it should be, every byte of it, and signed: whoever trusts the key
    alone is never left without a model."""
    registry = Registry(store, "tiny")
    for alias, number in registry.aliases().items():
        version = registry.resolve(str(number))
        audit = check(store, version)
        check_statements(store, version, trusted, audit)
        assert not audit.faults
        assert refusal_of_alias(registry, alias, version, trusted) is None


def names_of(store: LocalStore) -> set[str]:
    return {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}


@fault(
    "a push, a rejection or the move of an alias is killed at any of its writes, before or after it",
    "what users see is the old state or the new, whole, and signed where there is a key; the same"
    " run again ends as if nothing had been; `flowmap gc` finds what is left over",
    of="rivals",
)
@pytest.mark.parametrize("done_first", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("work", [step.promote, step.reject], ids=["promote", "reject"])
def test_a_push_that_is_killed_at_any_write_leaves_the_old_or_the_new_and_is_mended_by_the_next(
    before: Path,
    first: Finished,
    trusted: TrustedKeys,
    tmp_path: Path,
    work: Callable[..., None],
    done_first: bool,
) -> None:
    made, whole = first.digests(), LocalStore(tmp_path / "whole")
    shutil.copytree(before, whole.root)
    push(whole, made, tmp_path / "scratch", work)
    expected, objects = state(whole), names_of(whole)
    check_whole(whole, trusted)
    num = 0
    for at in range(MOST_WRITES):
        store = DyingStore(tmp_path / "store")
        shutil.rmtree(store.root, ignore_errors=True)
        shutil.copytree(before, store.root)
        store.left, store.done_first = at, done_first
        try:
            push(store, made, tmp_path / "scratch", work)
        except Killed:
            num += 1
        else:
            break
        found = LocalStore(store.root)
        seen = state(found)
        # each part is as it was or as it will be: no alias leads to what is not there or not whole
        assert seen["aliases"].items() <= expected["aliases"].items()
        assert [each["candidate"] for each in seen["versions"]] == [
            each["candidate"] for each in expected["versions"]
        ][: len(seen["versions"])]
        check_whole(found, trusted)
        left = names_of(found) - objects
        garbage = {
            name for group in unneeded(found, timedelta(days=2), _in_a_week()) for name in group.names
        }
        assert left <= garbage, "what a killed push leaves over is found"
        push(found, made, tmp_path / "scratch", work)
        assert state(found) == expected, at
        check_whole(found, trusted)
    else:
        pytest.fail("it never came to an end")
    assert num > 10
    assert state(LocalStore(tmp_path / "store")) == expected


def test_what_led_to_a_rejection_is_signed_too(
    before: Path, first: Finished, trusted: TrustedKeys, tmp_path: Path
) -> None:
    store, made = LocalStore(before), first.digests()
    push(store, made, tmp_path / "scratch", step.reject)
    for name in ("grpo_finetuning", "evaluation"):
        for digest in makers(store, made[name]):
            (signed,) = envelopes(store, folder_of_run(digest))
            assert signed.key_ids == tuple(each.key.keyid for each in trusted.keys)


@fault(
    "a push, a rejection or the move of an alias is killed at any of its writes, before or after it",
    of="rivals",
)
@pytest.mark.parametrize("done_first", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_signed_move_of_an_alias_that_is_killed_is_made_and_signed_or_not(
    before: Path, first: Finished, trusted: TrustedKeys, tmp_path: Path, at: int, done_first: bool
) -> None:
    """Two writes: the move with its signature in it, and the copy of that beside it."""
    push(LocalStore(before), first.digests(), tmp_path / "scratch", step.promote)
    store = DyingStore(before)
    signer = signer_of(os.environ[environment.SIGNING_KEY])
    registry = signing_moves(Registry(store, "tiny"), signer)
    store.left, store.done_first = at, done_first
    with pytest.raises(Killed):
        registry.move_alias("production", registry.resolve("1"), "for the test")
    found = Registry(LocalStore(before), "tiny")
    is_made = at > 0 or done_first
    assert found.aliases()["production"] == (1 if is_made else 2)
    assert len(found.moves("production")) == (2 if is_made else 1)
    check_whole(LocalStore(before), trusted)


def _in_a_week() -> datetime:
    return datetime.now(UTC) + timedelta(days=7)
