"""The frame every step runs in, so that a step's own code is only its science.

    execute("base_training", settings, {"data": data}, base)

That runs `flowmap.base_training.step.run(context)`, and around it:

Step digest -> reuse a finished result -> verify and fetch the inputs -> seed -> run, resuming from
checkpoints -> write the outputs, their manifest last -> record. Reuse is decided before the step's own
modules are imported. Where bytes lie comes from the environment (`FLOWMAP_STORE`), never from a setting, so
it enters no digest.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.manifest import Manifest, build_manifest, parse_manifest
from flowmap.artifacts.results import finished_result
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import artifact_prefix, faults, fetch_either, publish, set_aside
from flowmap.errors import ConfigError, FlowmapError, IntegrityError, full_disk_told
from flowmap.launching.job import Job
from flowmap.launching.processes import die_with_run
from flowmap.lineage.recording import record_step
from flowmap.machine import computed_with, take_machine
from flowmap.progress import say
from flowmap.seeding import seed_everything
from flowmap.settings import RunConfig, environment
from flowmap.steps.context import Context
from flowmap.steps.dag import step_of
from flowmap.steps.digests import decisions, digest_of
from flowmap.steps.step import Input, Inputs, Step
from flowmap.training.work import Training


class Carrier(Protocol):
    """What carries a manifest between steps: a KFP artifact, or anything else with these two."""

    path: str
    metadata: dict[str, Any]


def execute(
    name: str, settings: str, inputs: Mapping[str, Carrier], output: Carrier, *, function: str = "run"
) -> Manifest:
    """Run a step of the pipeline, or find its finished result; leave the manifest in `output`.

    Args:
        name, function: which step.
        settings: the configuration as JSON.
        inputs: what the steps before left in their outputs.
        output: gets the manifest as its file, and the digest as metadata.

    What a person can mend ends the process with one message and its exit status, without a traceback.
    """
    die_with_run()
    try:
        with full_disk_told():
            return _execute(step_of(name, function), RunConfig.model_validate_json(settings), inputs, output)
    except FlowmapError as error:
        message = f"{name}: {error}"
        if target := os.environ.get(environment.ERROR_FILE):
            with contextlib.suppress(OSError):
                Path(target).write_text(json.dumps({"message": message, "exit_code": error.exit_code}))
        say(message)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def store_from_environment() -> ObjectStore:
    """The store this process works on."""
    try:
        return open_store(os.environ[environment.STORE])
    except KeyError:
        raise ConfigError(
            f"{environment.STORE} is not set: it names the store, such as /data/flowmap"
        ) from None


def _execute(step: Step, config: RunConfig, carriers: Mapping[str, Carrier], output: Carrier) -> Manifest:
    began_s = time.monotonic()
    store = store_from_environment()
    inputs = _inputs(step, config, store, carriers)
    decided = decisions(step, config, inputs)
    digest = digest_of(decided)
    os.environ |= {environment.STEP: step.name, environment.STEP_DIGEST: digest}
    known = finished_result(store, digest) if step.reuse else None
    finished = known if known is not None and _is_whole(step, known, store) else None
    manifest, did = finished, None
    if manifest is None:
        manifest, did = _run(step, decided, config, store, inputs, known)
    step.check(config, store, manifest)
    Path(output.path).parent.mkdir(parents=True, exist_ok=True)
    Path(output.path).write_bytes(manifest.to_bytes())
    output.metadata["digest"] = manifest.digest
    wall_s = time.monotonic() - began_s
    record_step(
        store,
        step_digest=digest,
        decided=decided,
        config=config.model_dump(mode="json"),
        output=manifest.digest,
        reused=finished is not None,
        wall_s=wall_s,
        work_s=0.0 if did is None else did.work_s,
        machine={} if did is None else did.machine,
        expectations=None if did is None else did.expectations or None,
    )
    done = "reused" if finished else f"done in {wall_s:.1f} s"
    say(f"{step.name}: {done}, artifact {manifest.digest[:12]}")
    return manifest


@dataclass(frozen=True)
class _Did:
    """Of work that was done: seconds of the step's own function, what computed, what was checked of data."""

    work_s: float
    machine: Mapping[str, Any]
    expectations: Sequence[dict[str, Any]]


def _is_whole(step: Step, known: Manifest, store: ObjectStore) -> bool:
    """Whether an artifact is there as it was made; what is damaged of it is set aside and said."""
    damaged = faults(store, known)
    for name, told in damaged.items():
        kept = set_aside(store, name)
        where = f"kept as {kept}, and " if kept else ""
        say(f"{step.name}: {name} {told}: {where}the step runs again")
    return not damaged


def _inputs(step: Step, config: RunConfig, store: ObjectStore, carriers: Mapping[str, Carrier]) -> Inputs:
    """What other steps made, and what else decides the result."""
    inputs: dict[str, Input] = {}
    for name, carrier in carriers.items():
        manifest = parse_manifest(Path(carrier.path).read_bytes(), where=f"the manifest of input {name}")
        inputs[name] = Input(manifest.digest, manifest, artifact_prefix(manifest.digest))
    return inputs | dict(step.extra_inputs(config, store, inputs))


def _run(
    step: Step,
    decided: Mapping[str, Any],
    config: RunConfig,
    store: ObjectStore,
    inputs: Inputs,
    before: Manifest | None,
) -> tuple[Manifest, _Did]:
    """Do the step's work; returns what it published, and what its record says of the work.

    Args: before: what it came to once, if that has to be made again.

    Raises:
        IntegrityError: it comes to something else now.
    """
    say(f"{step.name}: starting")
    section, digest = step.section(config), digest_of(decided)
    made_by = digest_of({name: decided.get(name) for name in ("code", "libraries")})
    with tempfile.TemporaryDirectory(prefix=f"flowmap-{step.name}-") as folder:
        scratch = Path(folder)
        step.look(config, scratch / "look")
        manifests = {name: each.manifest for name, each in inputs.items() if each.manifest is not None}
        copies = {name: scratch / "inputs" / name for name in manifests}
        for name, manifest in manifests.items():
            files = tuple(entry for entry in manifest.files if not entry.path.startswith(step.without))
            needed = manifest.model_copy(update={"files": files})
            fetch_either(store, needed, copies[name], inputs[name].prefix, inputs[name].spare)
        checkpoints = Checkpoints(store, f"checkpoints/{step.name}/{digest}")
        out = scratch / "out"
        out.mkdir()

        def train(trainings: Sequence[Training]) -> None:
            from flowmap.launching.launcher import launch

            launch([_job(each, copies, manifests, out, scratch, checkpoints) for each in trainings])

        told = {name: each.digest for name, each in inputs.items() if each.manifest is None}
        context = Context(section, copies, manifests, told, made_by, out, checkpoints, store, scratch, train)
        work = getattr(importlib.import_module(f"flowmap.{step.name}.step"), step.function)
        seed_everything(getattr(section, "seed", 0), with_torch="torch" in step.libraries)
        began_s = time.monotonic()
        work(context)
        work_s = time.monotonic() - began_s
        did = _Did(work_s, take_machine(out) or computed_with(), context.expectations)
        made = build_manifest(out, step=step.name, step_digest=digest)
        if before is not None and made.digest != before.digest:
            raise IntegrityError(
                f"{step.name} came to artifact {made.digest}, and before it was damaged to {before.digest}: "
                "another processor or GPU, most likely. Run it where it was made, restore "
                f"{artifact_prefix(before.digest)}/, or delete steps/{digest}.json in {store.url} to go on "
                "with the new one"
            )
        publish(store, out, made)
        store.put(f"steps/{digest}.json", made.to_bytes())
        checkpoints.clear()
    return made, did


def _job(
    training: Training,
    inputs: Mapping[str, Path],
    manifests: Mapping[str, Manifest],
    out: Path,
    scratch: Path,
    checkpoints: Checkpoints,
) -> Job:
    """A training as whoever starts its processes needs it."""
    return Job(
        worker=training.worker,
        section=training.section.model_dump_json(),
        name=training.name,
        inputs=dict(inputs),
        manifests=dict(manifests),
        out=out,
        scratch=scratch / "training" / training.name,
        store=checkpoints.store.url,
        checkpoints=f"{checkpoints.prefix}/{training.name}".rstrip("/"),
        num_processes=training.num_processes,
    )
