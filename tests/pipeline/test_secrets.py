"""Nothing that a whole run leaves holds a secret: on a disk, in a store, signed, or in an error."""

import shutil
from pathlib import Path

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.attestation.keys import new_key_pair
from flowmap.settings import environment
from tests.cli import flowmap as cli
from tests.minio_server import CREDENTIALS, MinioServer
from tests.pipeline.conftest import SECRETS
from tests.pipeline.runs import Finished, run

SECRET = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]


def holding(data: bytes, secrets: dict[str, str]) -> list[str]:
    return [name for name, secret in secrets.items() if secret.encode() in data]


def copied(source: LocalStore, target: ObjectStore) -> None:
    for folder in ("artifacts", "steps", "lineage", "models"):
        for name in source.names(folder):
            target.put(name, source.get(name))


def test_no_log_record_report_or_metric_holds_one(first_run: Path, first: Finished) -> None:
    files = [path for path in first_run.rglob("*") if path.is_file()]
    assert {"finished.json", "store", "logs", "reports"} <= {
        part for path in files for part in path.relative_to(first_run).parts
    }
    for path in files:
        assert not holding(path.read_bytes(), SECRETS), path


def test_no_statement_object_or_log_holds_the_key_or_the_stores_secret(
    minio: MinioServer, first_run: Path, first: Finished, tmp_path: Path
) -> None:
    minio.make_bucket("secrets")
    where = f"s3://secrets/flowmap?endpoint={minio.endpoint}"
    copied(LocalStore(first_run / "root" / "store"), open_store(where))
    private, _ = new_key_pair(tmp_path / "keys", "ours")
    body = private.read_text().splitlines()[1]
    secrets = {"store": SECRET, "key": body}
    root = tmp_path / "root"
    environ = {environment.SIGNING_KEY: str(private)}
    done = run(root, "evaluation.frechet_tolerance=0.01", f"--store={where}", environment=environ)
    assert done.status == 3, done.told
    store = open_store(where)
    signed = list(store.names("lineage/statements"))
    assert signed
    told = [done.told, str(done.outcome)]
    for command in (("models", "list"), ("lineage", "show", "tiny"), ("lineage", "verify", "tiny")):
        shown = cli(*command, "--store", where)
        told += [shown.stdout, shown.stderr]
    data = [
        store.get(name)
        for folder in ("artifacts", "steps", "lineage", "models", "runs")
        for name in store.names(folder)
    ]
    data += [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    assert len(data) > len(signed) + 20
    for each in [*data, *map(str.encode, told)]:
        assert not holding(each, secrets)


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({}, "s3://nowhere/flowmap?endpoint={endpoint}"),
        ({"AWS_SECRET_ACCESS_KEY": f"{SECRET}-mistyped"}, "s3://flowmap?endpoint={endpoint}"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "s3://flowmap?endpoint={endpoint}"),
        ({"FLOWMAP_PATIENCE_S": "0"}, "s3://flowmap?endpoint=http://127.0.0.1:9"),
    ],
    ids=["no bucket", "wrong secret", "wrong key", "nobody there"],
)
def test_no_error_of_a_store_holds_its_secret(
    minio: MinioServer, tmp_path: Path, environ: dict[str, str], where: str
) -> None:
    store = where.format(endpoint=minio.endpoint)
    told = cli("models", "list", "--root", str(tmp_path), "--store", store, environment=environ)
    assert told.returncode != 0
    assert "flowmap" in told.stderr
    assert SECRET not in told.stdout + told.stderr


def test_a_key_that_can_not_be_read_is_not_shown(first_run: Path, tmp_path: Path) -> None:
    shutil.copytree(first_run / "root" / "store", tmp_path / "store")
    private, _ = new_key_pair(tmp_path / "keys", "ours")
    broken = private.read_text().replace("\n", "!\n", 2)
    private.chmod(0o600)
    private.write_text(broken)
    told = cli("lineage", "attest", "tiny", "--root", str(tmp_path), "--key", str(private))
    assert told.returncode != 0
    assert broken.splitlines()[1].rstrip("!") not in told.stdout + told.stderr
