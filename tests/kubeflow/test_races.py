"""Several submit the same thing at the same moment, to a real Kubeflow Pipelines: one run comes of it."""

import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from flowmap.settings import load_config
from flowmap_pipelines.image_lock import Images, load_images
from flowmap_pipelines.kubeflow import submitting
from flowmap_pipelines.kubeflow.client import Kubeflow
from flowmap_pipelines.profile import load_profile
from tests.kubeflow.conftest import Flowmap

_AT_ONCE, _ACCOUNT = 4, "flowmap"


def submit_at(
    start: threading.Barrier, folder: Path, namespace: str, name: str, key: str | None
) -> tuple[str, bool]:
    """In a process of its own, as two people or two jobs would; without a key as a change is submitted."""
    settings, profile = load_config(folder / "tiny.yaml", [f"name={name}"]), load_profile("local")
    images = load_images(folder / "images" / "images.lock", pinned=profile.pinned)
    server = Kubeflow(os.environ["FLOWMAP_KFP_HOST"], namespace)
    start.wait(60)
    if key is None:
        run, is_new = submitting.submit_on_change(server, settings, profile, images, account=_ACCOUNT)
    else:
        run, is_new = submitting.submit(server, settings, profile, images, account=_ACCOUNT, key=key)
    return run.run_id, is_new


@pytest.mark.parametrize("by", ["key", "change"])
@pytest.mark.parametrize("count", range(5))
def test_those_who_submit_at_once_are_told_of_one_run(
    flowmap: Flowmap, namespace: str, images: Images, by: str, count: int
) -> None:
    """The first time of a name, too: experiment, pipeline and version are made in the same moment."""
    name = f"raced-{by}-{time.time_ns()}"
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(_AT_ONCE) as pool:
        start = manager.Barrier(_AT_ONCE)
        asked = (start, flowmap.folder, namespace, name, f"{name}-key" if by == "key" else None)
        told = pool.starmap(submit_at, [asked] * _AT_ONCE, chunksize=1)
    assert len({run_id for run_id, _ in told}) == 1, told
    assert sum(is_new for _, is_new in told) == 1, told
    server = Kubeflow(os.environ["FLOWMAP_KFP_HOST"], namespace)
    here = [run.run_id for run in server.runs() if f"name: {name}" in run.settings or name in run.name]
    assert here == [told[0][0]]
    server.cancel(told[0][0])
