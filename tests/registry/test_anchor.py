"""The first base of a name is what candidates are held against, and each attempt at the gate counts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.registry import (
    Judged,
    Registry,
    StaleVerdictError,
    Version,
    anchor_of,
    check_anchor,
    claim_trial,
    publish_anchor,
    terms_of,
    trial_of,
)
from flowmap.settings import Evaluation, RegistryPush

FILES = ("map.safetensors", "model.json")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(LocalStore(tmp_path / "store"), "digits")


def judged(candidate: str, name: str = "digits") -> Judged:
    return Judged(
        name=name,
        candidate=candidate,
        evaluation=f"evaluation of {candidate}",
        incumbent=None,
        verdict={},
        figures={},
    )


def publish(
    registry: Registry,
    tmp_path: Path,
    weights: str,
    run: str = "",
    stated: Callable[[Version], None] | None = None,
) -> tuple[str, Version | None]:
    """The digest of a base, and the version that it has become; `stated` comes before the alias."""
    folder = tmp_path / f"{weights}{run}"
    folder.mkdir(exist_ok=True)
    for name in FILES:
        (folder / name).write_text(weights)
    made = build_manifest(folder, step="base_training", step_digest=weights)

    def not_yet(version: Version) -> None:
        assert version.version not in registry.aliases().values()

    times, shown = (1.0, 0.5, 0.0), judged(made.digest)
    version = publish_anchor(registry, folder, made, FILES, shown, times, stated or not_yet)
    return made.digest, version


def test_the_first_base_stays_the_anchor(registry: Registry, tmp_path: Path) -> None:
    assert anchor_of(registry, "any") is None
    first, version = publish(registry, tmp_path, "one")
    assert version is not None
    assert (version.version, version.role, version.grid) == (1, "base", (1.0, 0.5, 0.0))
    assert anchor_of(registry, first) is None  # its own run holds candidates against what it has
    second, none = publish(registry, tmp_path, "two")
    assert none is None
    assert anchor_of(registry, second) == version
    assert len(registry.versions()) == 1


def test_a_person_names_another_anchor(registry: Registry, tmp_path: Path) -> None:
    first, version = publish(registry, tmp_path, "one")
    assert version is not None
    later = registry.write_version(version.manifest, judged("tuned"))
    registry.move_alias("anchor", later, "the data are others now")
    assert anchor_of(registry, first) == later
    with pytest.raises(ValueError, match="'anchor' is what candidates are held against"):
        RegistryPush(alias="anchor")


def test_of_many_runs_that_publish_a_base_at_once_one_does(registry: Registry, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda name: publish(registry, tmp_path, name)[1], "abcdefgh"))
    won = [version for version in made if version is not None]
    assert registry.versions() == won
    assert len(won) == 1
    assert registry.aliases() == {"anchor": won[0].version}


def test_a_base_whose_run_was_killed_before_the_alias_is_not_published_twice(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "start_alias", die)
        with pytest.raises(KeyboardInterrupt):
            publish(registry, tmp_path, "one")
    assert registry.aliases() == {}
    publish(registry, tmp_path, "one")
    assert registry.aliases() == {"anchor": 1}
    assert len(registry.versions()) == 1


def test_of_many_runs_of_the_same_base_one_publishes_it(registry: Registry, tmp_path: Path) -> None:
    """One that finds the version of another states it too, by when the alias may lead to it already."""
    stated: list[Version] = []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda run: publish(registry, tmp_path, "same", run, stated.append), "abcdefgh"))
    assert registry.resolve("anchor").role == "base"
    assert registry.resolve("anchor") in registry.versions()
    assert registry.resolve("anchor") in stated


def test_who_loses_to_another_run_of_the_same_base_withdraws_nothing_that_is_the_anchor(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run finds the version that this one has written, and moves the alias to it first."""
    start = Registry.start_alias

    def after_another(self: Registry, alias: str, version: Version) -> bool:
        assert start(self, alias, version)
        return start(self, alias, version)

    monkeypatch.setattr(Registry, "start_alias", after_another)
    assert publish(registry, tmp_path, "same")[1] is None
    assert registry.resolve("anchor").version == 1


def test_models_from_before_anchors_are_held_against_their_oldest_version(
    registry: Registry, tmp_path: Path
) -> None:
    base, made = publish(registry, tmp_path, "one")
    assert made is not None
    other = Registry(registry.store, "older")
    oldest = other.write_version(made.manifest, judged("tuned", "older"))
    other.write_version(made.manifest, judged("later", "older"))
    assert anchor_of(other, base) == oldest
    publish(other, tmp_path, "two")
    assert other.aliases() == {"anchor": oldest.version}
    assert len(other.versions()) == 2


def test_a_verdict_against_another_anchor_is_stale(registry: Registry, tmp_path: Path) -> None:
    check_anchor(registry, "mine", None)
    first, version = publish(registry, tmp_path, "one")
    assert version is not None
    check_anchor(registry, first, None)
    check_anchor(registry, "mine", version.manifest.digest)
    with pytest.raises(StaleVerdictError, match="digits@anchor is another since"):
        check_anchor(registry, "mine", None)


def test_each_candidate_is_a_trial_and_so_is_one_on_other_terms(registry: Registry) -> None:
    assert trial_of(registry, "a", "t") == 1
    claim_trial(registry, 1, "a", "t")
    claim_trial(registry, 1, "a", "t")  # a run that is retried
    assert trial_of(registry, "a", "t") == 1
    assert trial_of(registry, "a", "laxer") == 2
    assert trial_of(registry, "b", "t") == 2
    claim_trial(registry, 2, "b", "t")
    assert trial_of(registry, "b", "t") == 2
    assert trial_of(registry, "c", "t") == 3


def test_of_candidates_that_were_judged_at_the_same_time_one_has_the_number(registry: Registry) -> None:
    claim_trial(registry, 1, "a", "t")
    with pytest.raises(StaleVerdictError, match="judged at the same time, as number 1 too"):
        claim_trial(registry, 1, "b", "t")
    assert trial_of(registry, "b", "t") == 2


def test_terms_are_every_setting_of_evaluation() -> None:
    assert terms_of(Evaluation()) == terms_of(Evaluation())
    assert terms_of(Evaluation()) != terms_of(Evaluation(recall_tolerance=0.2))
    assert terms_of(Evaluation()) != terms_of(Evaluation(samples_per_prompt=101))
