"""Starts a run on Kubeflow Pipelines: the pipeline's version is uploaded once, and a key starts a run once.

    run, is_new = submit(kubeflow, config, profile, images, account="flowmap", key="nightly-2026-11-25")

A version is named by the digest of what was compiled, so the same configuration, profile, images and code
are the same version. The key is part of the run's name, by which a second call finds it; so is what a change
is told by.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.data.external import external_digests
from flowmap.errors import ConfigError
from flowmap.settings import RunConfig
from flowmap_pipelines.compiling import compile_pipeline, package_digest
from flowmap_pipelines.image_lock import Images
from flowmap_pipelines.kubeflow.client import Kubeflow
from flowmap_pipelines.kubeflow.resources import Run
from flowmap_pipelines.profile import Profile

_ON_CHANGE = "change-"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def upload(kubeflow: Kubeflow, config: RunConfig, profile: Profile, images: Images) -> tuple[str, str]:
    """The ids of the model's pipeline and of the version that these come to."""
    with tempfile.TemporaryDirectory(prefix="flowmap-") as folder:
        package = Path(folder) / "pipeline.yaml"
        compile_pipeline(config, profile, images, package)
        return kubeflow.upload(config.name, package_digest(package), package)


def submit(
    kubeflow: Kubeflow,
    config: RunConfig,
    profile: Profile,
    images: Images,
    *,
    account: str | None,
    key: str | None = None,
) -> tuple[Run, bool]:
    """Start a run, or find the one that was started with this key; and whether it is new.

    Raises:
        ConfigError: the key is not one, or was used with another configuration.
    """
    if key is not None and not _KEY.fullmatch(key):
        raise ConfigError(
            f"--idempotency-key {key!r}: a key has letters, digits, `.`, `_` and `-`, at most 80 of them"
        )
    settings = config.to_json()
    name = config.name if key is None else f"{config.name} {key}"
    if key is not None and (known := _oldest(kubeflow.runs(name))) is not None:
        return _same(known, settings, key), False
    version = upload(kubeflow, config, profile, images)
    run = kubeflow.start(name, profile.description, version, settings, account)
    if key is None:
        return run, True
    first = _first(kubeflow, run, kubeflow.runs(name))
    return _same(first, settings, key), first.run_id == run.run_id


def submit_on_change(
    kubeflow: Kubeflow, config: RunConfig, profile: Profile, images: Images, *, account: str | None
) -> tuple[Run, bool]:
    """Start a run when configuration or data changed since the last that was started so, else find that; is
    it new?

    What failed of the one that is found is run again, unless code or images have changed too: those want a
    new run.

    Raises:
        DataError: there are no such data.
    """
    begins = f"{config.name} {_ON_CHANGE}"
    told = {"settings": config.to_json(), "data": external_digests(config.data_prep)}
    name = f"{begins}{sha256_of(canonical_json(told))[:16]}"
    version = upload(kubeflow, config, profile, images)
    last = next((run for run in kubeflow.runs() if run.name.startswith(begins)), None)
    if last is not None and last.name == name:
        has_failed = last.state in ("failed", "cancelled")
        if has_failed and last.version == version[1]:
            kubeflow.retry(last.run_id)
        if not has_failed or last.version == version[1]:
            return last, False
    run = kubeflow.start(name, profile.description, version, config.to_json(), account)
    since = (each for each in kubeflow.runs(name) if last is None or each.created > last.created)
    first = _first(kubeflow, run, since)
    return first, first.run_id == run.run_id


def _oldest(runs: Iterable[Run]) -> Run | None:
    return min(runs, key=lambda run: (run.created, run.run_id), default=None)


def _first(kubeflow: Kubeflow, run: Run, alike: Iterable[Run]) -> Run:
    """Two that ask at once both find nothing: of what they started the first stays, and the other is
    ended."""
    first = _oldest(alike)
    if first is None or first.run_id == run.run_id:
        return run
    kubeflow.cancel(run.run_id)
    return first


def _same(run: Run, settings: str, key: str) -> Run:
    if run.settings != settings:
        raise ConfigError(
            f"--idempotency-key {key} was used for run {run.run_id} with another configuration; use another "
            "key"
        )
    return run
