"""Starts a run on Kubeflow Pipelines: the pipeline's version is uploaded once, and a key starts a run once.

    run, is_new = submit(kubeflow, config, profile, images, account="flowmap", key="nightly-2026-11-25")

A version is named by the digest of what was compiled, so the same configuration, profile, images and code are the same
version. The key is part of the run's name, by which a second call finds it.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from flowmap.artifacts.manifest import canonical_json, sha256_of
from flowmap.config import RunConfig
from flowmap.data.external import external_digests
from flowmap.errors import ConfigError
from flowmap_pipelines.compiling import compile_pipeline, package_digest
from flowmap_pipelines.images import Images
from flowmap_pipelines.kubeflow.answers import Run
from flowmap_pipelines.kubeflow.client import Kubeflow
from flowmap_pipelines.profile import Profile

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def upload(kubeflow: Kubeflow, config: RunConfig, profile: Profile, images: Images) -> tuple[str, str]:
    """The ids of the model's pipeline and of the version that these come to."""
    with tempfile.TemporaryDirectory(prefix="flowmap-") as folder:
        package = Path(folder) / "pipeline.yaml"
        compile_pipeline(config, profile, images, package)
        return kubeflow.upload(config.name, package_digest(package), package)


def change_key(config: RunConfig) -> str:
    """A key that changes with the configuration and with the data that it names. Raises DataError without data."""
    told = {"settings": config.to_json(), "data": external_digests(config)}
    return f"change-{sha256_of(canonical_json(told))[:16]}"


def submit(
    kubeflow: Kubeflow,
    config: RunConfig,
    profile: Profile,
    images: Images,
    *,
    account: str | None,
    key: str | None = None,
    again_if_failed: bool = False,
) -> tuple[Run, bool]:
    """Start a run, or find the one that was started with this key; and whether it is new.

    With `again_if_failed` what failed of the run that is found is run again.

    Raises:
        ConfigError: the key is not one, or was used with another configuration.
    """
    if key is not None and not _KEY.fullmatch(key):
        raise ConfigError(f"--idempotency-key {key!r}: a key has letters, digits, `.`, `_` and `-`, at most 80 of them")
    settings = config.to_json()
    name = config.name if key is None else f"{config.name} {key}"
    if key is not None and (known := _known(kubeflow, name)) is not None:
        run = _same(known, settings, key)
        if again_if_failed and run.state in ("failed", "cancelled"):
            kubeflow.retry(run.run_id)
        return run, False
    version = upload(kubeflow, config, profile, images)
    run = kubeflow.start(name, profile.description, version, settings, account)
    if key is None:
        return run, True
    # Two that ask at once both find nothing: the run that was made first stays.
    first = _known(kubeflow, name)
    if first is None or first.run_id == run.run_id:
        return run, True
    kubeflow.cancel(run.run_id)
    return _same(first, settings, key), False


def _known(kubeflow: Kubeflow, name: str) -> Run | None:
    return min(kubeflow.runs(name), key=lambda run: (run.created, run.run_id), default=None)


def _same(run: Run, settings: str, key: str) -> Run:
    if run.settings != settings:
        raise ConfigError(
            f"--idempotency-key {key} was used for run {run.run_id} with another configuration; use another key"
        )
    return run
