"""Starts a run on Kubeflow Pipelines: the pipeline's version is uploaded once, and a key starts a run once.

    run, is_new = submit(kubeflow, config, profile, images, account="flowmap", key="nightly-2026-11-25")

A version is named by the digest of what was compiled, so the same configuration, profile, images and code
are the same version. The key is part of the run's name, by which a second call finds it; so is what a change
is told by. Of several calls at once one starts the run: the one that made the claim, a version of the
pipeline whose name can be given only once. The others wait for its run.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.data.external import external_digests
from flowmap.errors import ConfigError
from flowmap.progress import say
from flowmap.settings import RunConfig
from flowmap_pipelines.compiling import compile_pipeline, package_digest
from flowmap_pipelines.image_lock import Images
from flowmap_pipelines.kubeflow.client import Kubeflow
from flowmap_pipelines.kubeflow.refusals import KubeflowError
from flowmap_pipelines.kubeflow.resources import Run
from flowmap_pipelines.profile import Profile

_ON_CHANGE = "change-"
_PAUSE_S = 1.0
_WAITS = 60
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Package:
    """A compiled pipeline, and the ids that Kubeflow has it under."""

    file: Path
    version: tuple[str, str]


@contextlib.contextmanager
def uploaded(kubeflow: Kubeflow, config: RunConfig, profile: Profile, images: Images) -> Iterator[Package]:
    """What these come to, as a version of the model's pipeline."""
    with tempfile.TemporaryDirectory(prefix="flowmap-") as folder:
        file = Path(folder) / "pipeline.yaml"
        compile_pipeline(config, profile, images, file)
        yield Package(file, kubeflow.upload(config.name, package_digest(file), file))


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

    def known() -> Run | None:
        return _oldest(kubeflow.runs(name))

    if key is not None and (found := known()) is not None:
        return _same(found, settings, key), False
    with uploaded(kubeflow, config, profile, images) as package:

        def start() -> Run:
            return kubeflow.start(name, profile.description, package.version, settings, account)

        if key is None:
            return start(), True
        run, is_new = _once(kubeflow, config.name, f"key-{key}", package.file, start, known)
    return _same(run, settings, key), is_new


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
    change = f"{_ON_CHANGE}{sha256_of(canonical_json(told))[:16]}"
    name = f"{config.name} {change}"
    with uploaded(kubeflow, config, profile, images) as package:
        last = next((run for run in kubeflow.runs() if run.name.startswith(begins)), None)
        if last is not None and last.name == name:
            has_failed = last.state in ("failed", "cancelled")
            is_same = last.version == package.version[1]
            if has_failed and is_same:
                when = f"{last.end:%Y%m%d%H%M%S}" if last.end else "now"
                if kubeflow.claim(config.name, f"{change}-retry-{last.run_id}-{when}", package.file):
                    kubeflow.retry(last.run_id)
            if not has_failed or is_same:
                return last, False
        before = "the-first" if last is None else last.run_id

        def start() -> Run:
            return kubeflow.start(name, profile.description, package.version, config.to_json(), account)

        def known() -> Run | None:
            return _oldest(run for run in kubeflow.runs(name) if _is_later(run, last))

        return _once(kubeflow, config.name, f"{change}-after-{before}", package.file, start, known)


def _once(
    kubeflow: Kubeflow,
    pipeline: str,
    claim: str,
    file: Path,
    start: Callable[[], Run],
    known: Callable[[], Run | None],
) -> tuple[Run, bool]:
    """Start a run when nobody else does, else find theirs; is it new?

    Who made a claim and was lost before the run had begun is not waited for for ever: the next claim is made
    then, and who finds that one there ends the run that came too late.
    """
    for number in itertools.count(1):
        mine, after = f"{claim}.{number}", f"{claim}.{number + 1}"
        if kubeflow.claim(pipeline, mine, file):
            try:
                run = start()
            except KubeflowError:
                with contextlib.suppress(KubeflowError):
                    kubeflow.give_up_claim(pipeline, mine)
                raise
            if not kubeflow.is_claimed(pipeline, after):
                return run, True
            kubeflow.cancel(run.run_id)
            say(f"run {run.run_id} came too late and is cancelled: another was started meanwhile")
        else:
            for _ in range(_WAITS):
                if (run_of_another := known()) is not None:
                    return run_of_another, False
                time.sleep(_PAUSE_S)
            say(f"who claimed {mine} has started nothing for {_WAITS * _PAUSE_S:.0f} s")
    raise AssertionError


def _is_later(run: Run, last: Run | None) -> bool:
    """Whether a run is from after another; times are whole seconds."""
    return last is None or (run.created >= last.created and run.run_id != last.run_id)


def _oldest(runs: Iterable[Run]) -> Run | None:
    return min(runs, key=lambda run: (run.created, run.run_id), default=None)


def _same(run: Run, settings: str, key: str) -> Run:
    if run.settings != settings:
        raise ConfigError(
            f"--idempotency-key {key} was used for run {run.run_id} with another configuration; use another "
            "key"
        )
    return run
