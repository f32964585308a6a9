"""The registry: an alias moves only to what was judged against the version it points to."""

from pathlib import Path

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.registry import Registry, StaleVerdictError, Version


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(LocalStore(tmp_path / "store"), "digits")


def published(registry: Registry, tmp_path: Path, weights: str, incumbent: Version | None) -> Version:
    folder = tmp_path / weights
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_text(weights)
    version, _ = registry.publish(
        folder,
        ["weights"],
        build_manifest(folder, step="grpo_finetuning", step_digest=weights),
        evaluation=f"evaluation of {weights}",
        incumbent=incumbent.manifest.digest if incumbent else None,
        verdict={},
        figures={},
    )
    return version


def test_a_verdict_against_what_is_current_holds_and_so_does_one_on_the_current_version_itself(
    registry: Registry, tmp_path: Path
) -> None:
    registry.check_judged("production", candidate="c", incumbent=None)
    first = published(registry, tmp_path, "one", None)
    registry.move_alias("production", first)
    registry.check_judged("production", candidate="c", incumbent=first.manifest.digest)
    registry.check_judged("production", candidate=first.candidate, incumbent=None)
    registry.check_judged("staging", candidate="c", incumbent=None)


def test_a_verdict_from_before_the_alias_moved_is_refused(registry: Registry, tmp_path: Path) -> None:
    first = published(registry, tmp_path, "one", None)
    second = published(registry, tmp_path, "two", first)
    registry.move_alias("production", second)
    for candidate, incumbent in (("c", first.manifest.digest), ("c", None), (first.candidate, None)):
        with pytest.raises(StaleVerdictError, match="digits@production has become version 2 since"):
            registry.check_judged("production", candidate=candidate, incumbent=incumbent)
