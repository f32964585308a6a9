"""A version made again from what is on record of it, in an empty store, and held against what it was: its
bytes on the same kind of machine, its figures on another."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flowmap.artifacts.store import ObjectStore
from flowmap.audit.graph import Graph
from flowmap.errors import ConfigError
from flowmap.lineage.record import StepRecord, run_records
from flowmap.lineage.sources import read_environment, sources_here, unpack_sources
from flowmap.progress import say
from flowmap.registry import Version
from flowmap.registry.evaluation_result import read_evaluated
from flowmap.settings import RunConfig
from flowmap_pipelines.local_run import StepError, run_locally, store_of

_ENDED = (0, 3)  # promoted, and rejected
# How far figures may be apart on another kind of machine, where the last digits of every sum are others and
# training goes its own way; and whether that is a share.
_TOLERANCES = {
    "judge_accuracy": (0.05, False),
    "recall": (0.05, False),
    "fd_judge": (0.25, True),
    "diversity": (0.1, True),
}


@dataclass(frozen=True)
class Reproduced:
    """A step of a version's history, as it was and as it has come out now; None where it was not run."""

    step: str
    before: StepRecord
    now: StepRecord | None

    @property
    def is_same(self) -> bool:
        return self.now is not None and self.now.output == self.before.output

    def why(self) -> Iterator[str]:
        """What decided it otherwise, or else on what other machine it was."""
        if self.now is None:
            return
        a, b = self.before, self.now
        if a.code_version != b.code_version:
            yield f"another code, {a.code_version[:12]} then and {b.code_version[:12]} now"
        if a.decisive_libraries != b.decisive_libraries:
            yield f"other libraries, {a.decisive_libraries} then and {b.decisive_libraries} now"
        changed = sorted(name for name in a.inputs if a.inputs[name] != b.inputs.get(name))
        if changed:
            yield f"other inputs: {', '.join(changed)}"
        if _machine(a) != _machine(b):
            yield f"another kind of machine, {_machine(a)} then and {_machine(b)} now"

    @property
    def may_differ(self) -> bool:
        """Whether all that decides it is the same but the kind of machine, and what that made before."""
        if self.now is None:
            return False
        a, b = self.before, self.now
        return (a.code_version, a.decisive_libraries, a.section) == (
            b.code_version,
            b.decisive_libraries,
            b.section,
        ) and _machine(a) != _machine(b)


@dataclass(frozen=True)
class Figure:
    """One of a version's figures, as it was and as it has come out now, and how far apart they may be."""

    name: str
    before: float
    now: float

    @property
    def allowed(self) -> float:
        """By which they may differ: a share of what it was for distances and spreads, for the others a
        number."""
        tolerance, is_share = _TOLERANCES[self.name]
        return tolerance * abs(self.before) if is_share else tolerance

    @property
    def is_close(self) -> bool:
        return abs(self.now - self.before) <= self.allowed


@dataclass(frozen=True)
class Reproduction:
    """A version made again: every step of its weights' history and its evaluation, and the figures of that.

    An evaluation that took more than is made again, such as an incumbent, has its figures alone.
    """

    steps: list[Reproduced]
    figures: list[Figure]

    @property
    def is_same(self) -> bool:
        """Every digest."""
        return all(each.is_same for each in self.steps)

    @property
    def is_close(self) -> bool:
        """Where bytes differ nothing but the kind of machine is another, and figures are near enough: where
        there are none to compare, nobody knows."""
        return (
            all(each.is_same or each.may_differ for each in self.steps)
            and bool(self.figures)
            and all(each.is_close for each in self.figures)
        )


def _machine(record: StepRecord) -> str:
    gpu = "" if record.gpu is None else f" and {record.gpu} (driver {record.driver or 'unknown'})"
    return f"{record.instruction_set or 'no torch'} with {record.threads or 0} threads{gpu}"


def recorded_config(graph: Graph) -> dict[str, Any]:
    """The configuration of the run that made a version's weights, as it was: what settings there were then.

    Raises ConfigError where that is not on record.
    """
    made = graph.weights.made_by
    if made is None or made.config is None:
        raise ConfigError(
            "the configuration that made it is not on record: it was made by a flowmap from before 0.3"
        )
    return copy.deepcopy(dict(made.config))


def reproduce(store: ObjectStore, graph: Graph, version: Version, root: Path) -> Reproduction:
    """Run what made a version again below an empty root, and compare every step of its weights' history, and
    its evaluation.

    The code is that which ran then, where the store has kept it, and this one otherwise.

    Raises:
        ConfigError: the root is not empty, or the configuration is not on record.
        IntegrityError: the code that was kept is not what it was, or what is on record has no order.
        StepError: a step failed.
    """
    graph.check_ordered()
    config = recorded_config(graph)
    if (root / "store").exists():
        raise ConfigError(
            f"{root} holds a store already, of which much would be reused; name an empty folder"
        )
    if version.role == "base":  # GRPO is none of its history: as little of it as there can be
        config["grpo_finetuning"] |= {"rollouts": 1, "snapshots": 1}
    if "require_signature" in config["registry_push"]:  # nobody but the house has its key
        config["registry_push"]["require_signature"] = False
    made = graph.weights.made_by
    if made is None or made.sources in (None, sources_here()):
        records = run_locally(RunConfig.model_validate(config), root, store_of(root)).records
    else:
        records = _run_with(store, made.sources, config, root)
    history = _history(graph, graph.weights.digest)
    history += _evaluation(graph, version, {record.output for record in history})
    steps = [Reproduced(record.step, record, records.get(record.step)) for record in history]
    return Reproduction(steps, _figures(version, store_of(root), records))


def _evaluation(graph: Graph, version: Version, remade: set[str]) -> list[StepRecord]:
    """The record of its evaluation, where that took nothing but what is made again: there is no incumbent in
    an empty store, and what is run for a base alone is not the candidate of then."""
    node = graph.nodes.get(version.evaluation)
    if node is None or node.made_by is None or not remade.issuperset(node.inputs.values()):
        return []
    return [node.made_by]


def _figures(version: Version, made: ObjectStore, records: dict[str, StepRecord]) -> list[Figure]:
    if "evaluation" not in records:
        return []
    evaluated = read_evaluated(made, records["evaluation"].output)
    now = evaluated.figures("base" if version.role == "base" else "tuned")
    return [Figure(name, version.figures[name], now[name]) for name in _TOLERANCES if name in now]


def write_sources(store: ObjectStore, graph: Graph, folder: Path) -> list[str]:
    """Leave the code that made a version's weights, `requirements.txt` of what was installed beside it, and
    the run's `config.yaml`; returns their names.

    Raises:
        ConfigError: the folder is not empty, or nothing of that was kept.
        IntegrityError: what was kept is not what it was.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name a new folder")
    made = graph.weights.made_by
    if made is None or made.sources is None or made.environment is None:
        raise ConfigError("its code was not kept: it was made by a flowmap from before 0.3")
    config = recorded_config(graph)
    folder.mkdir(parents=True, exist_ok=True)
    unpack_sources(store, made.sources, folder)
    installed = read_environment(store, made.environment).splitlines(keepends=True)
    others = [line for line in installed if not line.startswith("flowmap==")]
    (folder / "requirements.txt").write_text("".join(others))
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return sorted(path.name for path in folder.iterdir())


def _run_with(store: ObjectStore, sources: str, config: dict[str, Any], root: Path) -> dict[str, StepRecord]:
    """Run a configuration with code from the store."""
    say(f"running the code that ran then, {sources[:12]}, with the libraries that are installed here")
    with tempfile.TemporaryDirectory(prefix="flowmap-sources-") as folder:
        unpack_sources(store, sources, Path(folder))
        file = Path(folder, "config.yaml")
        file.write_text(yaml.safe_dump(config))
        done = subprocess.run(
            [sys.executable, "-m", "flowmap_pipelines.cli", "run", file, "--root", root, "--json"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": folder},
            check=False,
        )
    if done.returncode not in _ENDED:
        raise StepError(f"the code that ran then ended with status {done.returncode}; it says above why")
    made = store_of(root)
    (run_id,) = {name.split("/")[1] for name in made.names("runs")}
    return run_records(made, run_id)


def _history(graph: Graph, digest: str) -> list[StepRecord]:
    """Records of whoever made it and what it was made of, the first step first."""
    node, found = graph.nodes[digest], dict[str, StepRecord]()
    for used in node.inputs.values():
        found |= {record.step: record for record in _history(graph, used)}
    if node.made_by is not None:
        found[node.step] = node.made_by
    return list(found.values())
