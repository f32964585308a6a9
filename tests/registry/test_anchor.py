"""The first base of a name is what candidates are held against, and each attempt at the gate counts."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.registry import (
    Judged,
    Registry,
    Rejection,
    Version,
    anchor_of,
    publish_anchor,
    terms_of,
    trial_of,
)
from flowmap.settings import Evaluation, RegistryPush

FILES = ("map.safetensors", "model.json")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(LocalStore(tmp_path / "store"), "digits")


def judged(candidate: str, trial: int | None = None, terms: str | None = None) -> Judged:
    return Judged(
        name="digits",
        candidate=candidate,
        evaluation=f"evaluation of {candidate} on {terms}",
        incumbent=None,
        verdict={},
        figures={},
        trial=trial,
        terms=terms,
    )


def publish(registry: Registry, tmp_path: Path, weights: str) -> tuple[str, Version | None]:
    """The digest of a base, and the version that it has become."""
    folder = tmp_path / weights
    folder.mkdir(exist_ok=True)
    for name in FILES:
        (folder / name).write_text(weights)
    made = build_manifest(folder, step="base_training", step_digest=weights)
    return made.digest, publish_anchor(registry, folder, made, FILES, judged(made.digest), (1.0, 0.5, 0.0))


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
    later = registry.write_version(version.manifest, judged("tuned", 1, "t"))
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


def test_each_candidate_is_a_trial_and_so_is_one_on_other_terms(registry: Registry, tmp_path: Path) -> None:
    publish(registry, tmp_path, "one")  # a base is none
    assert trial_of(registry, "a", "t") == 1
    registry.reject(Rejection(**judged("a", 1, "t").model_dump()))
    assert trial_of(registry, "a", "t") == 1
    assert trial_of(registry, "a", "laxer") == 2
    assert trial_of(registry, "b", "t") == 2
    registry.write_version(registry.versions()[0].manifest, judged("b", 2, "t"))
    assert trial_of(registry, "b", "t") == 2
    assert trial_of(registry, "c", "t") == 3


def test_terms_are_every_setting_of_evaluation() -> None:
    assert terms_of(Evaluation()) == terms_of(Evaluation())
    assert terms_of(Evaluation()) != terms_of(Evaluation(recall_tolerance=0.2))
    assert terms_of(Evaluation()) != terms_of(Evaluation(samples_per_prompt=101))
