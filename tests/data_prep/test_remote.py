"""Data in an object store are read like those on a disk, and are looked at again only when they changed."""

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowmap.artifacts.s3_store import S3Store
from flowmap.data.external import external_digests
from flowmap.data_prep.step import run
from flowmap.errors import DataError
from flowmap.settings import DataPrep
from tests.minio_server import MinioServer
from tests.pipeline.runs import write_shapes


class Bucket:
    """A prefix in a bucket with the images of a folder."""

    def __init__(self, minio: MinioServer, folder: Path) -> None:
        self.prefix = f"data/{uuid.uuid4().hex}"
        self.url = f"s3://flowmap/{self.prefix}?endpoint={minio.endpoint}"
        self.store = S3Store.from_url(self.url)
        for path in folder.rglob("*"):
            if path.is_file():
                self.store.put_file(path.relative_to(folder).as_posix(), path)

    def file(self, name: str) -> str:
        return self.url.replace(self.prefix, f"{self.prefix}/{name}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "shapes"
    write_shapes(path, 200)
    return path


@pytest.fixture
def bucket(minio: MinioServer, folder: Path) -> Bucket:
    return Bucket(minio, folder)


def config(**section: Any) -> DataPrep:
    return DataPrep.model_validate(section)


def prepared(settings: DataPrep, folder: Path) -> dict[str, bytes]:
    """The files of the artifact that data_prep makes."""
    out = folder / "out"
    out.mkdir(parents=True)
    # All of a Context that the step uses; a whole one takes a run.
    context: Any = SimpleNamespace(section=settings, out=out, scratch=folder / "scratch", expectations=[])
    run(context)
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_folder_in_a_bucket_is_what_it_is_on_a_disk(bucket: Bucket, folder: Path, tmp_path: Path) -> None:
    here = prepared(config(source=str(folder), preferences=str(folder / "pairs.csv")), tmp_path / "here")
    there = prepared(config(source=bucket.url, preferences=bucket.file("pairs.csv")), tmp_path / "there")
    assert there == here


def test_the_digest_changes_with_the_data_alone(bucket: Bucket, folder: Path) -> None:
    settings = config(source=bucket.url, preferences=bucket.file("pairs.csv"))
    before = external_digests(settings)
    bucket.store.put_file("metadata.csv", folder / "metadata.csv")
    assert external_digests(settings) == before
    bucket.store.put("pairs.csv", (folder / "pairs.csv").read_bytes() + b"\n")
    after = external_digests(settings)
    assert after["source"] != before["source"]
    assert after["preferences"] != before["preferences"]


def test_an_error_names_the_data_as_the_user_does(bucket: Bucket, tmp_path: Path) -> None:
    bucket.store.delete("metadata.csv")
    with pytest.raises(DataError) as told:
        prepared(config(source=bucket.url), tmp_path)
    assert bucket.url in str(told.value)
    assert str(tmp_path) not in str(told.value)


def test_what_is_not_there_is_told(bucket: Bucket) -> None:
    for source in (bucket.url.replace("data/", "absent/"), bucket.file("absent.npz")):
        with pytest.raises(DataError, match="no such object"):
            external_digests(config(source=source))
