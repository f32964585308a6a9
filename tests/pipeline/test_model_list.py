"""What somebody gets who asks for a model by its name alone, and what they are told."""

import getpass
import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.registry import Judged, Registry, Rejection, UnknownModelError, publish_anchor
from flowmap.registry.who import who
from flowmap_pipelines.model_list import find_judged, find_version, instead_of_production
from tests.cli import flowmap as cli

FAILED = {"criteria": [{"name": "recall", "passed": False}, {"name": "judge", "passed": True}]}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """With a base as its only version."""
    found = Registry(LocalStore(tmp_path / "store"), "digits")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "map.safetensors").write_text("x")
    made = build_manifest(tmp_path / "base", step="base_training", step_digest="s")
    files, times = ("map.safetensors",), (1.0, 0.0)
    publish_anchor(
        found, tmp_path / "base", made, files, judged(made.digest), times, made=lambda version: None
    )
    return found


def judged(candidate: str, verdict: dict[str, Any] | None = None) -> Judged:
    return Judged(
        name="digits",
        candidate=candidate,
        evaluation=f"evaluation of {candidate}",
        incumbent=None,
        verdict=verdict or {},
        figures={},
    )


def test_until_a_candidate_passes_it_is_the_base_and_that_is_said(registry: Registry) -> None:
    base = find_version(registry.store, "digits")
    assert base.role == "base"
    told = "no candidate of digits has passed the gate: this is its base, version 1"
    assert instead_of_production(registry.store, "digits", base) == told
    assert instead_of_production(registry.store, "digits@anchor", base) is None
    for candidate in ("first", "last"):
        registry.reject(Rejection(**judged(candidate, FAILED).model_dump()))
    more = instead_of_production(registry.store, "digits", base)
    assert more == f"{told}; the last one was rejected for recall: to look at it, ask for digits@rejected"


def test_where_the_alias_is_another_nobody_gets_the_base_instead(registry: Registry) -> None:
    tuned = registry.write_version(registry.versions()[0].manifest, judged("tuned"))
    registry.promote("champion", tuned, tuned)
    with pytest.raises(
        UnknownModelError, match="digits@production: unknown; there is 1, 2, anchor, champion"
    ):
        find_version(registry.store, "digits")


def test_the_last_rejected_is_the_last_in_time(registry: Registry) -> None:
    with pytest.raises(UnknownModelError, match="digits: no candidate of that model was rejected"):
        find_judged(registry.store, "digits@rejected")
    dates = {"of an older flowmap": None, "later": datetime(2026, 2, 1), "earlier": datetime(2026, 1, 1)}
    for trial, (candidate, date) in enumerate(dates.items()):
        at = date and date.replace(tzinfo=UTC)
        facts = judged(candidate, FAILED).model_dump() | {"rejected_at": at, "trial": trial}
        data = Rejection(**facts).model_dump_json().encode()
        registry.store.create(f"models/digits/rejections/{trial}.json", data)
    assert find_judged(registry.store, "digits@rejected").candidate == "later"
    with pytest.raises(UnknownModelError, match="'other': no such model"):
        find_judged(registry.store, "other@rejected")


def test_a_rejection_keeps_its_time(registry: Registry) -> None:
    registry.reject(Rejection(**judged("c", FAILED).model_dump()))
    (found,) = registry.rejections()
    assert found.rejected_at is not None


def test_an_alias_goes_back_and_its_history_says_who_and_why(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["--root", str(tmp_path)]
    early = cli("models", "rollback", "digits", "--reason", "x", *common)
    assert (early.returncode, "has pointed to nothing before" in early.stderr) == (2, True)
    for candidate in ("second", "third"):
        version = registry.write_version(registry.versions()[0].manifest, judged(candidate))
        registry.move_alias("production", version, "for the test")
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    back = cli("models", "rollback", "digits", "--reason", "it draws no sevens", *common)
    assert back.stdout == "digits@production points to digits@2, before to digits@3\n"
    assert registry.resolve("production").version == 2
    lines = cli("models", "history", "digits", *common).stdout.splitlines()
    assert lines[-1].endswith("production: digits@3 -> digits@2, by octocat by CI: it draws no sevens")
    (last,) = json.loads(cli("models", "history", "digits", "--json", *common).stdout)[-1:]
    assert (last["alias"], last["before"], last["version"]) == ("production", 3, 2)
    unknown = cli("models", "history", "other", *common)
    assert "'other': no such model" in unknown.stderr


def test_an_alias_of_ones_own_is_made_listed_and_moved_by_one_of_two(
    registry: Registry, tmp_path: Path
) -> None:
    common = ["--root", str(tmp_path)]
    second = registry.write_version(registry.versions()[0].manifest, judged("second"))
    for mistyped, says in (
        ("2", "alias '2' would be taken for version 2"),
        ("a/b", "use small letters"),
        ("x" * 64, "at most 63 of them"),
        ("rejected", "is how people ask for what was rejected"),
    ):
        for command in (("alias", "digits@1", mistyped), ("promote", "digits@1", "--alias", mistyped)):
            refused = cli("models", *command, "--reason", "x", *common)
            assert refused.returncode == 2
            assert says in refused.stderr
    assert "--reason says why" in cli("models", "alias", "digits@1", "staging", *common).stderr
    for unexplained in (("promote", "digits@1"), ("rollback", "digits"), ("retire", "digits@1")):
        refused = cli("models", *unexplained, *common)
        assert refused.returncode == 2
        assert "Missing option '--reason'" in refused.stderr
    assert (
        "say which version" in cli("models", "alias", "digits", "staging", "--reason", "x", *common).stderr
    )
    made = cli("models", "alias", "digits@2", "staging", "--reason", "for the demo", *common)
    assert made.stdout == "digits@staging points to digits@2, before to nothing\n"
    listed = cli("models", "alias", "digits", *common).stdout.splitlines()
    assert [line.split(", since")[0] for line in listed] == ["anchor: digits@1", "staging: digits@2"]
    told = json.loads(cli("models", "alias", "digits", "--json", *common).stdout)
    assert told["staging"]["reason"] == "for the demo"
    moved = ("models", "alias", "digits@1", "staging", "--reason", "x", "--expected")
    late = cli(*moved, "1", *common)
    assert (late.returncode, "digits@staging points to digits@2, and not to digits@1" in late.stderr) == (
        1,
        True,
    )
    assert cli(*moved, str(second.version), *common).returncode == 0
    assert registry.resolve("staging").version == 1


def test_who_it_is_is_the_run_before_anybody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FLOWMAP_RUN_ID", "GITHUB_ACTOR", "GITLAB_USER_LOGIN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    here = f"{getpass.getuser()}@{socket.gethostname()}"
    assert who() == here
    (tmp_path / ".gitconfig").write_text("[user]\nname = Ada L\nemail = ada@example.com\n")
    assert who() == f"Ada L <ada@example.com> ({here})"
    monkeypatch.setenv("GITLAB_USER_LOGIN", "ada")
    assert who() == "ada by CI"
    monkeypatch.setenv("FLOWMAP_RUN_ID", "r1")
    assert who() == "run r1"
