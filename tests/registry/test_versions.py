"""The registry: an alias moves only to what was judged against the version it points to, whoever else moves
it meanwhile."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import Manifest, build_manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix, faults, publish
from flowmap.errors import ConfigError, IntegrityError
from flowmap.registry import Judged, Registry, StaleVerdictError, Version, trial_of
from flowmap.registry_push.step import promote
from flowmap.settings import RegistryPush, environment
from flowmap.settings.sections import Publication
from tests.faults import fault


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(LocalStore(tmp_path / "store"), "digits")


def candidate(tmp_path: Path, weights: str) -> tuple[Path, Manifest]:
    folder = tmp_path / weights
    folder.mkdir(exist_ok=True)
    for name in ("ema.safetensors", "model.json"):
        (folder / name).write_text(weights)
    return folder, build_manifest(folder, step="grpo_finetuning", step_digest=weights)


def judged(digest: str, evaluation: str, incumbent: Version | None) -> Judged:
    against = incumbent.manifest.digest if incumbent else None
    return Judged(
        name="digits", candidate=digest, evaluation=evaluation, incumbent=against, verdict={}, figures={}
    )


def published(registry: Registry, tmp_path: Path, weights: str, incumbent: Version | None) -> Version:
    folder, manifest = candidate(tmp_path, weights)
    files = registry.upload(folder, ["ema.safetensors"], manifest)
    return registry.write_version(files, judged(manifest.digest, f"evaluation of {weights}", incumbent))


def test_a_verdict_against_what_is_current_holds_and_so_does_one_on_the_current_version_itself(
    registry: Registry, tmp_path: Path
) -> None:
    registry.check_judged("production", judged("c", "e", None))
    first = published(registry, tmp_path, "one", None)
    registry.promote("production", first, first)
    registry.check_judged("production", judged("c", "e", first))
    registry.check_judged("production", judged(first.candidate, "e", None))
    registry.check_judged("staging", judged("c", "e", None))


def test_a_verdict_from_before_the_alias_moved_is_refused(registry: Registry, tmp_path: Path) -> None:
    first = published(registry, tmp_path, "one", None)
    second = published(registry, tmp_path, "two", first)
    for version in (first, second):
        registry.promote("production", version, version)
    for digest, incumbent in (("c", first), ("c", None), (first.candidate, None)):
        late = judged(digest, "e", incumbent)
        with pytest.raises(StaleVerdictError, match="digits@production has become version 2 since"):
            registry.promote("production", first, late)
    assert [(move.before, move.version) for move in registry.moves("production")] == [(None, 1), (1, 2)]


@fault(
    "two candidates that were judged against the same version end together",
    "one is promoted. The other's run fails, says against what it must be judged, and leaves no version",
    of="rivals",
)
def test_of_many_that_promote_at_once_one_does(registry: Registry, tmp_path: Path) -> None:
    first = published(registry, tmp_path, "first", None)
    registry.promote("production", first, first)
    rivals = [published(registry, tmp_path, f"rival {index}", first) for index in range(8)]

    def attempt(version: Version) -> bool:
        try:
            registry.promote("production", version, version)
        except StaleVerdictError:
            return False
        return True

    with ThreadPoolExecutor(len(rivals)) as pool:
        won = list(pool.map(attempt, rivals))
    assert sum(won) == 1
    assert registry.aliases() == {"production": rivals[won.index(True)].version}


def test_a_person_moves_an_alias_back_with_a_reason(registry: Registry, tmp_path: Path) -> None:
    first = published(registry, tmp_path, "one", None)
    second = published(registry, tmp_path, "two", first)
    for version in (first, second):
        registry.promote("production", version, version)
    move = registry.move_alias("production", first, "it draws no sevens")
    assert (move.version, move.before, move.evaluation, move.reason) == (1, 2, None, "it draws no sevens")
    assert registry.resolve("production") == first


def test_an_alias_of_an_older_flowmap_holds_until_it_moves(registry: Registry, tmp_path: Path) -> None:
    first = published(registry, tmp_path, "one", None)
    second = published(registry, tmp_path, "two", first)
    registry.store.put("models/digits/aliases/production", b"1")
    assert registry.resolve("production") == first
    assert registry.was_promoted(first)
    assert not registry.was_promoted(second)
    registry.promote("production", second, second)
    assert registry.aliases() == {"production": 2}
    assert registry.moves("production")[0].before == 1


class Racing:
    """A store in which somebody does something right before a name that begins so is created."""

    def __init__(self, store: ObjectStore, before: str, act: Callable[[], object]) -> None:
        self.store, self.before, self.act = store, before, act

    def create(self, name: str, data: bytes) -> bool:
        if self.act is not None and name.startswith(self.before):
            act, self.before = self.act, "nothing any more"
            act()
        return self.store.create(name, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def push(
    store: Any,
    tmp_path: Path,
    weights: str,
    evaluation: str,
    incumbent: Version | None,
    *,
    require_signature: bool = False,
) -> Any:
    """What registry_push leaves when it promotes a candidate with a verdict of that evaluation."""
    folder, manifest = candidate(tmp_path, weights)
    registry = Registry(store, "digits")
    trial = trial_of(registry, manifest.digest, "these")
    verdict = {"verdict": "promote", "against": "base", "num_evaluations": 4, "criteria": [], "trial": trial}
    metrics: dict[str, Any] = {
        "incumbent": incumbent.manifest.digest if incumbent else None,
        "models": {"base": {"4": {}}, "tuned": {"4": {}}},
        "trained_grid": [1, 0],
        "terms": "these",
        "anchor": None,
    }
    base = tmp_path / "base"
    base.mkdir(exist_ok=True)
    for name in ("map.safetensors", "model.json"):
        (base / name).write_text("base")
    for name, told in (("verdict.json", verdict), ("metrics.json", metrics)):
        store.put(f"{artifact_prefix(evaluation)}/{name}", json.dumps(told).encode())
    for name in ("report.html", "samples.png"):
        store.put(f"{artifact_prefix(evaluation)}/{name}", b"x")
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    # All of a Context that the step uses; a whole one takes a run.
    promote(
        SimpleNamespace(  # type: ignore[arg-type]
            section=Publication(name="digits", require_signature=require_signature),
            manifests={
                "base": build_manifest(base, step="base_training", step_digest="base"),
                "tuned": manifest,
                "evaluation": SimpleNamespace(digest=evaluation),
            },
            inputs={"base": base, "tuned": folder},
            store=store,
            out=out,
        )
    )
    return json.loads((out / "outcome.json").read_text())


@fault(
    "two candidates that were judged against the same version end together",
    of="rivals",
)
@pytest.mark.parametrize("moment", ["models/digits/3/version.json", "models/digits/moves/production"])
def test_a_version_promoted_between_is_not_undone_and_the_late_one_is_not_left(
    registry: Registry, tmp_path: Path, moment: str
) -> None:
    push(registry.store, tmp_path, "one", "e1", None)
    first = registry.resolve("production")

    def somebody_else() -> None:
        push(registry.store, tmp_path, "rival", "e2", first)

    with pytest.raises(StaleVerdictError):
        push(Racing(registry.store, moment, somebody_else), tmp_path, "late", "e3", first)
    rival = registry.resolve("production")
    assert rival.evaluation == "e2"
    assert "e3" not in {version.evaluation for version in registry.versions()}
    # Judged anew, against what is there now, it is a version with its new verdict.
    outcome = push(registry.store, tmp_path, "late", "e4", rival)
    assert registry.resolve("production").evaluation == "e4"
    assert outcome["outcome"] == "published"
    assert outcome["version"] == registry.aliases()["production"]


@fault(
    "a push is killed between its version and its alias",
    "the same run again goes on with that version",
    of="rivals",
)
def test_a_run_that_was_killed_before_the_alias_moved_goes_on_with_its_version(
    registry: Registry, tmp_path: Path
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push(Racing(registry.store, "models/digits/moves/production", die), tmp_path, "one", "e1", None)
    assert registry.aliases() == {"anchor": 1}
    assert push(registry.store, tmp_path, "one", "e1", None)["version"] == 2
    assert registry.aliases() == {"anchor": 1, "production": 2}
    assert push(registry.store, tmp_path, "one", "e9", None)["outcome"] == "already promoted"


def test_an_alias_is_no_number() -> None:
    with pytest.raises(ValueError, match="alias '2' would be taken for version 2; use a word"):
        RegistryPush(alias="2")
    assert RegistryPush(alias="v2").alias == "v2"
    with pytest.raises(ValueError, match="how people ask for what was rejected"):
        RegistryPush(alias="rejected")


@pytest.mark.parametrize("name", ["ema.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_what_is_damaged_of_a_version_is_named_and_written_again(
    registry: Registry, tmp_path: Path, name: str, damage: str
) -> None:
    version = published(registry, tmp_path, "one", None)
    prefix = registry.files_prefix(version)
    file = tmp_path / "store" / prefix / name
    whole = file.read_bytes()
    assert registry.mend(version, tmp_path / "one") == []
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[:-1] if damage == "truncated" else bytes([whole[0] ^ 1]) + whole[1:])
    assert list(faults(registry.store, version.manifest, prefix)) == [f"{prefix}/{name}"]
    assert registry.mend(version, tmp_path / "one") == [f"{prefix}/{name}"]
    assert file.read_bytes() == whole
    assert not faults(registry.store, version.manifest, prefix)


def test_what_is_damaged_where_it_was_published_is_read_from_its_artifact(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version, folder = published(registry, tmp_path, "one", None), tmp_path / "copy"
    publish(registry.store, *candidate(tmp_path, "one"))
    file = tmp_path / "store" / registry.files_prefix(version) / "ema.safetensors"
    file.write_text("two")
    registry.download(version, folder)
    assert (folder / "ema.safetensors").read_text() == "one"
    spare = artifact_prefix(version.candidate)
    told = capsys.readouterr().err
    assert "ema.safetensors was changed after it was written (sha256 differs: " in told
    assert f"; read from {spare}/ instead" in told
    (tmp_path / "store" / spare / "ema.safetensors").unlink()
    with pytest.raises(IntegrityError, match=f"{spare}/ema.safetensors is missing"):
        registry.download(version, folder)


def test_an_alias_to_a_version_that_is_gone_is_damage_and_no_mistake_of_whoever_asks(
    registry: Registry, tmp_path: Path
) -> None:
    version = published(registry, tmp_path, "one", None)
    registry.start_alias("production", version)
    (tmp_path / "store" / "models" / registry.name / "1" / "version.json").unlink()
    with pytest.raises(
        IntegrityError, match=r"models/.*/1/version.json is missing .* production points to it"
    ):
        registry.resolve("production")


def test_an_unknown_reference_lists_what_there_is(registry: Registry, tmp_path: Path) -> None:
    first = published(registry, tmp_path, "one", None)
    registry.promote("production", first, first)
    with pytest.raises(ConfigError, match="digits@7: unknown; there is 1, production"):
        registry.resolve("7")


@pytest.mark.parametrize("key", [None, "gone.pem"])
def test_what_has_to_be_signed_is_not_published_without_a_key(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """By the step itself too: a cluster's has the key from a Secret that may have gone since the start."""
    if key is None:
        monkeypatch.delenv(environment.SIGNING_KEY, raising=False)
    else:
        monkeypatch.setenv(environment.SIGNING_KEY, str(tmp_path / key))
    with pytest.raises(ConfigError, match=r"require_signature is true|gone\.pem"):
        push(registry.store, tmp_path, "first", "evaluation", None, require_signature=True)
    assert not list(registry.store.names("models"))
    monkeypatch.delenv(environment.SIGNING_KEY, raising=False)
    push(registry.store, tmp_path, "first", "evaluation", None)
    assert [each.version for each in registry.versions()] == [1, 2]
