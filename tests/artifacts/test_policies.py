"""The bucket policies, applied to a real MinIO and tried to break."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import fetch, publish, verify
from flowmap.errors import StoreError
from flowmap.registry import Judged, Registry
from tests.minio_server import CREDENTIALS, MinioServer
from tests.records import record

POLICIES = Path(__file__).parents[2] / "charts" / "flowmap" / "policies"
KEY = "a-secret-for-tests"
As = Callable[[str], ObjectStore]


@pytest.fixture(scope="module", params=["roles", "shared/team/a"])
def where(request: pytest.FixtureRequest, minio: MinioServer) -> str:
    """A whole bucket, or what lies below a prefix."""
    minio.make_bucket(request.param.partition("/")[0])
    return str(request.param)


@pytest.fixture(scope="module")
def as_role(minio: MinioServer, where: str) -> As:
    """A store opened with the credentials of a role: one user each, with its policy for this bucket and
    prefix."""
    host = minio.endpoint.removeprefix("http://")
    admin = MinioAdmin(endpoint=host, credentials=StaticProvider(*CREDENTIALS.values()), secure=False)
    bucket, _, prefix = where.partition("/")
    for path in POLICIES.glob("*.json"):
        told = path.read_text().replace("BUCKET", bucket).replace("PREFIX", f"{prefix}/" if prefix else "")
        name = f"{bucket}-{path.stem}"
        admin.policy_add(name, policy=json.loads(told))
        admin.user_add(name, KEY)
        admin.attach_policy([name], user=name)

    def opened(role: str) -> ObjectStore:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", f"{bucket}-{role}")
            patch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
            return open_store(f"s3://{where}?endpoint={minio.endpoint}", patience=1)

    return opened


def artifact(folder: Path, size: int = 100) -> Path:
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"w" * size)
    return folder


def test_training_does_all_it_has_to(as_role: As, tmp_path: Path) -> None:
    store, made = as_role("train"), artifact(tmp_path / "made", 12 << 20)  # large enough to go in parts
    manifest = build_manifest(made, step="x", step_digest="d")
    publish(store, made, manifest)
    verify(store, manifest)
    fetch(store, manifest, tmp_path / "copy")
    store.put("steps/d.json", manifest.to_bytes())
    record(store, "x", manifest.digest)
    checkpoints = Checkpoints(store, "checkpoints/x/d")
    checkpoints.save(10, made)
    assert checkpoints.restore(tmp_path / "restored") == 10
    checkpoints.clear()
    assert checkpoints.restore(tmp_path / "nothing") is None


@pytest.mark.parametrize("name", ["models/m/1/version.json", "models/m/aliases/production", "elsewhere/x"])
def test_training_can_not_write_models(as_role: As, name: str) -> None:
    for write in (as_role("train").put, as_role("train").create):
        with pytest.raises(StoreError, match="the credentials do not allow it"):
            write(name, b"forged")
    assert not as_role("read").exists(name)


@pytest.mark.parametrize("role", ["train", "registry"])
@pytest.mark.parametrize(
    "name", ["artifacts/d/x", "steps/d.json", "lineage/l.json", "models/m/1/version.json"]
)
def test_nobody_deletes_what_is_meant_to_stay(
    as_role: As, minio: MinioServer, where: str, role: str, name: str
) -> None:
    owner = open_store(f"s3://{where}?endpoint={minio.endpoint}", patience=1)
    owner.put(name, b"kept")
    with pytest.raises(StoreError):
        as_role(role).delete(name)
    assert owner.get(name) == b"kept"


def test_the_registry_publishes(as_role: As, tmp_path: Path) -> None:
    made = artifact(tmp_path / "made")
    manifest = build_manifest(made, step="x", step_digest="d")
    judged = Judged(
        name="digits", candidate=manifest.digest, evaluation="e", incumbent=None, verdict={}, figures={}
    )
    registry = Registry(as_role("registry"), "digits")
    published = registry.upload(made, ["weights.safetensors"], manifest)
    version = registry.write_version(published, judged)
    registry.promote("production", version, judged)
    reader = Registry(as_role("read"), "digits")
    assert reader.resolve("production") == version
    reader.download(version, tmp_path / "downloaded")


@pytest.mark.parametrize("name", ["artifacts/d/x", "models/m/1/version.json", "checkpoints/x", "doctor/x"])
def test_readers_write_nothing(as_role: As, name: str) -> None:
    reader = as_role("read")
    for change in (
        lambda: reader.put(name, b"x"),
        lambda: reader.create(name, b"x"),
        lambda: reader.delete(name),
    ):
        with pytest.raises(StoreError):
            change()


def test_the_policies_name_one_bucket_only() -> None:
    for path in POLICIES.glob("*.json"):
        for statement in json.loads(path.read_text())["Statement"]:
            assert all(resource.startswith("arn:aws:s3:::BUCKET") for resource in statement["Resource"])
