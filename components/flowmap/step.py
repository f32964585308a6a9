"""The frame every step runs in, so that a step's own code is only its science.

    execute("base_training", settings, {"data": data}, base)      # runs flowmap.base_training.step.run(context)

Step digest -> reuse a finished result -> verify and fetch the inputs -> seed -> run, resuming from checkpoints -> write
the outputs, their manifest last -> record. Reuse is decided before the step's own modules are imported. Where bytes lie
comes from the environment (`FLOWMAP_STORE`), never from a setting, so it enters no digest.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.manifest import Manifest, build_manifest, canonical_json, parse_manifest, sha256_of
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import artifact_prefix, fetch, publish, verify
from flowmap.code_version import code_version
from flowmap.config import RunConfig
from flowmap.errors import ConfigError, FlowmapError, IntegrityError, full_disk_told
from flowmap.lineage.record import record_step
from flowmap.processes import die_with_run
from flowmap.progress import LINE_FIELDS, say
from flowmap.registry import Registry, Version
from flowmap.seeding import seed_everything

STORE_VARIABLE = "FLOWMAP_STORE"
ERROR_VARIABLE = "FLOWMAP_ERROR_FILE"


class Carrier(Protocol):
    """What carries a manifest between steps: a KFP artifact, or anything else with these two."""

    path: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Context:
    """What a step's own function gets to work with.

    Attributes:
        config: the whole configuration; a step reads its own section.
        inputs: a verified local copy of each input artifact, by name.
        manifests: the manifest of each input.
        out: an empty directory; what lies there at the end is the step's artifact.
        checkpoints: where an interrupted run of this very step left off.
        store: for steps whose work is in the store, such as the registry's.
        scratch: a directory for anything that need not survive.
    """

    config: RunConfig
    inputs: Mapping[str, Path]
    manifests: Mapping[str, Manifest]
    out: Path
    checkpoints: Checkpoints
    store: ObjectStore
    scratch: Path


@dataclass(frozen=True)
class _Input:
    manifest: Manifest
    prefix: str


def execute(
    step: str,
    settings: str,
    inputs: Mapping[str, Carrier],
    output: Carrier,
    *,
    function: str = "run",
    reuse: bool = True,
    with_incumbent: bool = False,
    external: Callable[[RunConfig], Mapping[str, str]] | None = None,
) -> Manifest:
    """Run `flowmap.<step>.step.<function>`, or find its finished result; leave the manifest in `output`.

    Args:
        step: the step's name, which is also its section's and its folder's.
        settings: the configuration as JSON.
        inputs: what the steps before left in their outputs.
        output: gets the manifest as its file, and the digest as metadata.
        reuse: False for a step with effects outside its artifact.
        with_incumbent: add the version that the alias points to, when there is one, as the input `incumbent`.
        external: digests of what the step reads from outside the store, by name; they decide about reuse too.

    What a person can mend ends the process with one message and its exit status, without a traceback.
    """
    die_with_run()
    try:
        with full_disk_told():
            return _execute(step, settings, inputs, output, function, reuse, with_incumbent, external)
    except FlowmapError as error:
        message = f"{step}: {error}"
        if target := os.environ.get(ERROR_VARIABLE):
            with contextlib.suppress(OSError):
                Path(target).write_text(json.dumps({"message": message, "exit_code": error.exit_code}))
        say(message)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def store_from_environment() -> ObjectStore:
    """The store this process works on."""
    try:
        return open_store(os.environ[STORE_VARIABLE])
    except KeyError:
        raise ConfigError(f"{STORE_VARIABLE} is not set: it names the store, such as /data/flowmap") from None


def step_digest(step: str, function: str, code: str, section: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """What decides a step's result: its name and function, its code, its section, its inputs' digests."""
    return sha256_of(
        canonical_json({"step": step, "function": function, "code": code, "section": section, "inputs": inputs})
    )


def section_of(step: str, config: RunConfig) -> dict[str, Any]:
    """A step's own section, as it enters the step digest."""
    found: dict[str, Any] = getattr(config, step).model_dump(mode="json")
    return found


def incumbent_of(store: ObjectStore, config: RunConfig, candidate: str) -> Version | None:
    """The registered version that a candidate has to beat; None where it is the first."""
    return Registry(store, config.name).incumbent(config.registry_push.alias, candidate=candidate)


def finished_result(store: ObjectStore, digest: str) -> Manifest | None:
    """What a step digest came to, as its record says; its bytes are not looked at. Raises IntegrityError."""
    name = f"steps/{digest}.json"
    try:
        manifest = parse_manifest(store.get(name), where=name)
    except KeyError:
        return None
    if manifest.step_digest != digest:
        raise IntegrityError(f"{name} describes another step, {manifest.step_digest}; delete it to run the step again")
    return manifest


def _execute(
    step: str,
    settings: str,
    carriers: Mapping[str, Carrier],
    output: Carrier,
    function: str,
    reuse: bool,
    with_incumbent: bool,
    external: Callable[[RunConfig], Mapping[str, str]] | None,
) -> Manifest:
    began_s = time.monotonic()
    store, config = store_from_environment(), RunConfig.model_validate_json(settings)
    inputs: dict[str, _Input] = {}
    for name, carrier in carriers.items():
        manifest = parse_manifest(Path(carrier.path).read_bytes(), where=f"the manifest of input {name}")
        inputs[name] = _Input(manifest, artifact_prefix(manifest.digest))
    if with_incumbent:
        registry = Registry(store, config.name)
        version = incumbent_of(store, config, inputs["tuned"].manifest.digest)
        if version is not None:
            inputs["incumbent"] = _Input(version.manifest, registry.files_prefix(version))
    section = section_of(step, config)
    input_digests = {name: entry.manifest.digest for name, entry in inputs.items()}
    if external is not None:
        input_digests |= external(config)
    code = code_version(step)
    digest = step_digest(step, function, code, section, input_digests)
    os.environ |= {LINE_FIELDS["step"]: step, LINE_FIELDS["step_digest"]: digest}
    finished = finished_result(store, digest) if reuse else None
    if finished is not None:
        verify(store, finished)
    manifest, work_s = (finished, 0.0) if finished else _run(step, function, digest, config, store, inputs)
    Path(output.path).parent.mkdir(parents=True, exist_ok=True)
    Path(output.path).write_bytes(manifest.to_bytes())
    output.metadata["digest"] = manifest.digest
    wall_s = time.monotonic() - began_s
    record_step(
        store,
        step=step,
        step_digest=digest,
        code_version=code,
        section=section,
        inputs=input_digests,
        output=manifest.digest,
        reused=finished is not None,
        wall_s=wall_s,
        work_s=work_s,
    )
    done = "reused" if finished else f"done in {wall_s:.1f} s"
    say(f"{step}: {done}, artifact {manifest.digest[:12]}")
    return manifest


def _run(
    step: str, function: str, digest: str, config: RunConfig, store: ObjectStore, inputs: Mapping[str, _Input]
) -> tuple[Manifest, float]:
    """Do the step's work; returns what it published, and the seconds its own function took."""
    say(f"{step}: starting")
    with tempfile.TemporaryDirectory(prefix=f"flowmap-{step}-") as folder:
        scratch = Path(folder)
        copies = {name: scratch / "inputs" / name for name in inputs}
        for name, entry in inputs.items():
            fetch(store, entry.manifest, copies[name], entry.prefix)
        context = Context(
            config=config,
            inputs=copies,
            manifests={name: entry.manifest for name, entry in inputs.items()},
            out=scratch / "out",
            checkpoints=Checkpoints(store, f"checkpoints/{step}/{digest}"),
            store=store,
            scratch=scratch,
        )
        context.out.mkdir()
        work = getattr(importlib.import_module(f"flowmap.{step}.step"), function)
        seed_everything(getattr(getattr(config, step), "seed", 0))
        began_s = time.monotonic()
        work(context)
        work_s = time.monotonic() - began_s
        manifest = build_manifest(context.out, step=step, step_digest=digest)
        publish(store, context.out, manifest)
        store.put(f"steps/{digest}.json", manifest.to_bytes())
        context.checkpoints.clear()
    return manifest, work_s
