"""Data in an object store: `s3://bucket/prefix?endpoint=http://host:port`, where a setting may name a folder
or a file.

Their digest is that of the names and entity tags, which a listing tells: nothing is downloaded to see
whether data changed. The credentials are those of the store's environment variables.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse, urlunparse

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.artifacts.s3_store import S3Store
from flowmap.data.naming import hidden_names
from flowmap.errors import DataError

_FILES = (".npz", ".csv", ".parquet", ".jsonl", ".txt", ".safetensors")
_PARALLEL = 8


def is_remote(source: str) -> bool:
    """Whether a setting names data in an object store."""
    return source.startswith("s3://")


def remote_digest(source: str, where: str = "data_prep") -> str:
    """What decides whether the data changed.

    Args: where: the setting, for messages.

    Raises DataError when there are none.
    """
    _, tags = _look(source, where)
    return sha256_of(canonical_json(tags))


def fetch_source(
    source: str,
    folder: Path,
    where: str = "data_prep",
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    outlined: bool = False,
) -> Path:
    """Download what a setting names into `folder`; returns the file, or the folder itself.

    Args:
        where: the setting, for messages.
        wanted: whether a file of that name is; outlined: others are there and empty.
    """
    store, tags = _look(source, where)

    def download(name: str) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            if wanted(name):
                file.writelines(store.chunks(name))

    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(download, [name for name in tags if outlined or wanted(name)]))
    return folder / next(iter(tags)) if _file_of(source) else folder


def _look(source: str, where: str) -> tuple[S3Store, dict[str, str]]:
    """The store below which the data lie, and the entity tag of each of its objects that belongs to them."""
    file = _file_of(source)
    parsed = urlparse(source)
    above = parsed.path.rpartition("/")[0] if file else parsed.path
    store = S3Store.from_url(urlunparse(parsed._replace(path=above)))
    found = store.entity_tags(file)
    apart = set(hidden_names(found))
    tags = {name: tag for name, tag in found.items() if name not in apart}
    if not tags:
        raise DataError(f"{where}: {source}: there is no such object, and none below it")
    if outside := [name for name in tags if ".." in name.split("/")]:
        raise DataError(
            f"{where}: {source}: {len(outside)} names lead out of the folder, such as {outside[0]!r}"
        )
    return store, tags


def _file_of(source: str) -> str:
    """The name of the one file that is meant; empty for a folder."""
    name = urlparse(source).path.rpartition("/")[2]
    return name if name.endswith(_FILES) else ""
