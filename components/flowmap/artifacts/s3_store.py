"""MinIO, or any other S3 endpoint, as an object store.

    store = S3Store.from_url("s3://bucket/prefix?endpoint=http://127.0.0.1:9000")
    store = S3Store.from_url("s3://bucket?endpoint=https://s3.example.org&addressing=virtual")

Credentials never come from the URL, which ends up in logs; s3_access.py has where from. A request that
fails for a reason that may pass (no connection, 500, 503) is repeated with growing, jittered pauses, for as
long as the store is patient; a download that breaks off goes on where it broke.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.helpers import check_bucket_name

from flowmap.artifacts.http_retry import RetryFor
from flowmap.artifacts.s3_access import credentials, pool, region
from flowmap.artifacts.s3_words import explained, gist, reason
from flowmap.artifacts.store import Listed, joined
from flowmap.errors import ConfigError, StoreError
from flowmap.progress import say
from flowmap.retrying import patience_s

_CHUNK_BYTES = 1 << 20
_PART_BYTES = 16 << 20
_PARALLEL_PARTS = 4
_READ_TRIES = 5
_WRITE_TRIES = 3
_VIRTUAL = "&addressing=virtual"
_MISSING = {"NoSuchKey", "NoSuchObject", "NoSuchVersion"}


class S3Store:
    """Objects below `prefix` in one bucket; one that is away is waited for `patience` seconds.

    Args:
        virtual: the bucket is a part of the host's name, `bucket.host`, and not of the path. AWS's own hosts
            are asked so in any case.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        prefix: str,
        patience: float | None = None,
        *,
        virtual: bool = False,
    ) -> None:
        parsed = urlparse(endpoint)
        self.url = f"s3://{bucket}/{prefix}?endpoint={endpoint}" + _VIRTUAL * virtual
        self._where = f"the store at {endpoint}"
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        retries = RetryFor(
            patience_s=patience_s() if patience is None else patience,
            tell=lambda what: say(f"{self._where} is away, and waited for ({gist(what)})"),
        )
        self._http = pool(endpoint, retries)
        self._client = Minio(
            endpoint=parsed.netloc,
            secure=parsed.scheme == "https",
            credentials=credentials(endpoint),
            region=region(),
            http_client=self._http,
        )
        if virtual:
            client: Any = self._client  # which says no types here
            client.enable_virtual_style_endpoint()

    @classmethod
    def from_url(cls, url: str, patience: float | None = None) -> S3Store:
        """Open `s3://bucket/prefix?endpoint=http://host:port`, with `&addressing=virtual` where the bucket
        is a part of the host's name. Raises ConfigError for anything else."""
        parsed, example = urlparse(url), "s3://bucket/prefix?endpoint=http://host:9000"
        if "@" in parsed.netloc:
            raise ConfigError(
                f"credentials do not belong into the URL; write {example} and set AWS_... instead"
            )
        query = parse_qs(parsed.query)
        endpoint = urlparse((query.pop("endpoint", None) or [""])[0])
        addressing = (query.pop("addressing", None) or ["path"])[0]
        if addressing not in ("path", "virtual"):
            raise ConfigError(f"store {url!r}: addressing is path or virtual, not {addressing!r}")
        if query:
            raise ConfigError(f"store {url!r}: unknown {', '.join(query)}; write {example}")
        if endpoint.scheme not in ("http", "https") or not endpoint.netloc:
            raise ConfigError(f"store {url!r}: no endpoint with http:// or https://; write {example}")
        if endpoint.path.strip("/"):
            raise ConfigError(
                f"store {url!r}: an endpoint has no path, and {endpoint.path} is one: S3 signs it as bucket "
                f"and name. What is to lie below a prefix is s3://bucket/prefix; write {example}"
            )
        try:
            check_bucket_name(parsed.netloc)
        except ValueError:
            raise ConfigError(f"store {url!r}: no bucket of 3 to 63 characters; write {example}") from None
        return cls(
            f"{endpoint.scheme}://{endpoint.netloc}",
            parsed.netloc,
            parsed.path.strip("/"),
            patience,
            virtual=addressing == "virtual",
        )

    def put_file(self, name: str, source: Path) -> None:
        for left in reversed(range(_WRITE_TRIES)):
            try:
                with self._as_store_error(name):
                    self._client.fput_object(
                        self._bucket,
                        self._key(name),
                        str(source),
                        part_size=_PART_BYTES,
                        num_parallel_uploads=_PARALLEL_PARTS,
                    )
                return
            except _UploadLostError:
                if not left:
                    raise

    def put(self, name: str, data: bytes) -> None:
        with self._as_store_error(name):
            self._client.put_object(self._bucket, self._key(name), io.BytesIO(data), len(data))

    def create(self, name: str, data: bytes) -> bool:
        """A presigned PUT with `If-None-Match: *`, which the client itself does not offer.

        Buckets that lock their objects ask for the content's MD5 beside it.
        """
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        headers = {"If-None-Match": "*", "Content-MD5": digest}
        with self._as_store_error(name):
            url = self._client.get_presigned_url(
                "PUT", self._bucket, self._key(name), expires=timedelta(minutes=10)
            )
            answer = self._http.request("PUT", url, body=data, headers=headers)
            if answer.status == 200:
                return True
            if answer.status in (409, 412):
                # A repeated request may meet the object that its first try wrote, when only the answer was
                # lost.
                repeated = answer.retries is not None and len(answer.retries.history) > 0
                return repeated and self.get(name) == data
            code = re.search(rb"<Code>(\w+)</Code>", answer.data)
            told = self._told(code[1].decode() if code else str(answer.status), repr(answer.data[:300]))
            raise StoreError(f"{self._where}: {told} (at {name})")

    def get(self, name: str) -> bytes:
        return joined(self.url, name, self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        position, left = 0, _READ_TRIES
        while True:
            try:
                with self._as_store_error(name):
                    for chunk in self._from(name, position):
                        position += len(chunk)
                        left = _READ_TRIES  # it goes on
                        yield chunk
                return
            except _BrokenOffError as error:
                left -= 1
                if not left:
                    raise StoreError(
                        f"{self._where} broke off {_READ_TRIES} times at {name}: {error}"
                    ) from error
                time.sleep(0.2)

    def exists(self, name: str) -> bool:
        try:
            with self._as_store_error(name):
                self._client.stat_object(self._bucket, self._key(name))
        except KeyError:
            return False
        return True

    def names(self, prefix: str) -> Iterator[str]:
        with self._as_store_error(prefix):
            found = self._client.list_objects(self._bucket, f"{self._key(prefix)}/", recursive=True)
            names = [str(entry.object_name)[len(self._prefix) :] for entry in found]
        yield from sorted(names)

    def listed(self, prefix: str) -> Iterator[Listed]:
        with self._as_store_error(prefix):
            found = self._client.list_objects(self._bucket, f"{self._key(prefix)}/", recursive=True)
            listed = [
                Listed(str(entry.object_name)[len(self._prefix) :], entry.size or 0, entry.last_modified)
                for entry in found
                if entry.last_modified is not None
            ]
        yield from sorted(listed, key=lambda each: each.name)

    def entity_tags(self, name: str = "") -> dict[str, str]:
        """What tells whether an object changed, by its name: of one object, or of all there are."""
        with self._as_store_error(name or self.url):
            found = self._client.list_objects(self._bucket, self._prefix + name, recursive=True)
            tags = {
                str(entry.object_name)[len(self._prefix) :]: str(entry.etag)
                for entry in found
                if not entry.is_dir
            }
        return {each: tags[each] for each in sorted(tags) if name in ("", each)}

    def delete(self, name: str) -> None:
        with self._as_store_error(name):
            self._client.remove_object(self._bucket, self._key(name))

    def _key(self, name: str) -> str:
        parts = name.split("/")
        if not name or name.startswith("/") or ".." in parts:
            raise StoreError(f"{name!r} is not a name inside the store {self.url}")
        return self._prefix + name

    def _from(self, name: str, position: int) -> Iterator[bytes]:
        """The object's bytes from a position on.

        Raises _BrokenOffError when the connection ends before they do.
        """
        try:
            answer = self._client.get_object(self._bucket, self._key(name), offset=position)
        except S3Error as error:
            if error.code == "InvalidRange":  # nothing is left: the break came after the last byte
                return
            raise
        try:
            yield from answer.stream(_CHUNK_BYTES)
        except urllib3.exceptions.HTTPError as error:
            raise _BrokenOffError(str(error)) from error
        finally:
            answer.close()
            answer.release_conn()

    @contextlib.contextmanager
    def _as_store_error(self, name: str) -> Iterator[None]:
        """Turn the client's errors into ones that say what to do."""
        try:
            yield
        except S3Error as error:
            if error.code in _MISSING:
                raise KeyError(name) from None
            if error.code == "NoSuchUpload":
                raise _UploadLostError(f"{self._where} lost an upload at {name}") from error
            raise StoreError(
                f"{self._where}: {self._told(str(error.code), str(error.message))} (at {name})"
            ) from error
        except (ServerError, InvalidResponseError) as error:
            raise StoreError(
                f"{self._where} does not answer as an S3 store would, at {name}: {error}"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            if isinstance(getattr(error, "reason", error), urllib3.exceptions.SSLError):
                raise StoreError(
                    f"{self._where} is not trusted ({reason(error)}): AWS_CA_BUNDLE names the certificates "
                    "of an authority of your own"
                ) from error
            raise StoreError(f"{self._where} can't be reached ({reason(error)}); is it running?") from error
        except MinioException as error:
            raise StoreError(f"{self._where}: {error} (at {name})") from error

    def _told(self, code: str, message: str) -> str:
        return f"{explained(code, message)} [bucket {self._bucket}]"


class _UploadLostError(StoreError):
    """A multipart upload vanished, such as when the store was restarted under it."""


class _BrokenOffError(Exception):
    """A download ended early."""
