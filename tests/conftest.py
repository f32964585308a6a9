"""Fixtures that several rooms share."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from playwright.sync_api import Page

from tests.browser import open_page
from tests.go_programs import begin_to_build
from tests.minio_server import CREDENTIALS, MinioServer, minio_binary
from tests.web_page import fetched_runtime

# Threads that spin while they wait take the processor from the tests beside them: a script of 17 s took 138.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# And cores that others test on are theirs: with two workers on two cores whole runs took a sixth longer.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // workers)))

# The same examples every time: what chance finds is no reason for a change to fail that has no part in it.
# `HYPOTHESIS_PROFILE=other pytest` looks further.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("other", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Whoever works with flowmap has these set, and no test is to use their store.
for variable in (
    "FLOWMAP_STORE",
    "FLOWMAP_NAMESPACE",
    "FLOWMAP_TRUSTED_KEYS",
    "FLOWMAP_SIGNING_KEY",
    *CREDENTIALS,
):
    os.environ.pop(variable, None)


# Files that take minutes: processes share them out first, so that none is left alone with one at the end;
# the first two begin side by side, and only one of those waits for a whole run.
LONG = (
    "test_runs.py",
    "test_worker.py",
    "test_incumbents.py",
    "test_captioned.py",
    "test_audit_page.py",
    "test_text_to_image.py",
    "test_bring_your_own.py",
    "test_ratchet.py",
    "test_quickstart.py",
    "test_disks.py",
    "test_frame.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Programs that tests wait for are built while other tests run, and the long tests come first."""
    begin_to_build({name for item in items for name in getattr(item, "fixturenames", ())})
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A running MinIO with a bucket `flowmap`, its credentials in the environment."""
    server = MinioServer(minio_binary(), tmp_path_factory.mktemp("minio"))
    server.start()
    try:
        server.make_bucket("flowmap")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in CREDENTIALS.items():
                patch.setenv(name, value)
            yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetched_runtime(tmp_path_factory)


@pytest.fixture(scope="session")
def page() -> Iterator[Page]:
    """An empty page of a real browser."""
    yield from open_page()
