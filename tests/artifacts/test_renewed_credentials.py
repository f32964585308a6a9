"""Credentials that end while a run is under way, in front of a real MinIO that then refuses them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from minio import MinioAdmin
from minio.credentials.providers import AssumeRoleProvider, StaticProvider

from flowmap.artifacts.store import open_store
from flowmap.errors import StoreError
from tests.artifacts.token_service import Keys, token_service
from tests.faults import fault
from tests.minio_server import CREDENTIALS, MinioServer

SECRET = "a-secret-for-tests"


@pytest.fixture(scope="module")
def user(minio: MinioServer) -> Callable[[str], Callable[[], None]]:
    """Makes a user that may do anything, and gives what takes all rights from it."""
    host = minio.endpoint.removeprefix("http://")
    admin = MinioAdmin(endpoint=host, credentials=StaticProvider(*CREDENTIALS.values()), secure=False)
    minio.make_bucket("renewed")

    def make(name: str) -> Callable[[], None]:
        admin.user_add(name, SECRET)
        admin.attach_policy(["readwrite"], user=name)

        def end() -> None:
            admin.user_remove(name)

        return end

    return make


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*CREDENTIALS, "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@fault(
    "credentials end while a run is under way",
    "the store asks a pod's identity for new ones before they end, and reads a file that somebody"
    " renewed again",
    "",
    "with nobody to renew them, the step fails and says so; `flowmap run` again goes on from the "
    "newest checkpoint",
    of="servers",
)
def test_those_of_a_pod_s_identity_are_asked_for_again_before_they_end(
    minio: MinioServer,
    user: Callable[[str], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    end_first, _ = user("first-identity"), user("second-identity")
    (tmp_path / "token").write_text("a.signed.token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    names = ["first-identity"]
    # those that end within ten seconds count as ended
    with token_service(lambda: (names[0], SECRET, ""), seconds=5) as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        store = open_store(f"s3://renewed/p?endpoint={minio.endpoint}", patience=1)
        store.put("one", b"1")
        names[0] = "second-identity"
        end_first()
        store.put("two", b"2")
        assert store.get("one") + store.get("two") == b"12"
        assert len(asked) >= 3


def test_keys_of_a_session_are_taken_with_their_token(
    minio: MinioServer,
    user: Callable[[str], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """MinIO's own, which it gives to a user for a while and takes with the session's token alone."""
    end = user("with-session")
    (tmp_path / "token").write_text("a.signed.token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    given: list[Keys] = []

    def session(*, with_token: bool = True) -> Keys:
        found = AssumeRoleProvider(
            sts_endpoint=minio.endpoint, access_key="with-session", secret_key=SECRET
        ).retrieve()
        given.append((found.access_key, found.secret_key, found.session_token or ""))
        return given[-1] if with_token else (*given[-1][:2], "")

    with token_service(session, seconds=5) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        store = open_store(f"s3://renewed/s?endpoint={minio.endpoint}", patience=1)
        store.put("one", b"1")
        assert store.create("two", b"2")  # by a presigned URL
        assert not store.create("two", b"3")
        assert store.get("one") + store.get("two") == b"12"
    assert {access for access, _, _ in given}.isdisjoint({"with-session"})
    assert all(token for _, _, token in given)
    with token_service(lambda: session(with_token=False), seconds=5) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        with pytest.raises(StoreError):
            open_store(f"s3://renewed/s?endpoint={minio.endpoint}", patience=1).get("one")
    end()


@fault(
    "credentials end while a run is under way",
    of="servers",
)
def test_a_file_that_somebody_renews_is_read_again(
    minio: MinioServer, user: Callable[[str], Callable[[], None]], tmp_path: Path
) -> None:
    end_first, end_second = user("first-file"), user("second-file")

    def write(name: str) -> None:
        (tmp_path / ".aws").mkdir(exist_ok=True)
        (tmp_path / ".aws" / "credentials").write_text(
            f"[default]\naws_access_key_id = {name}\naws_secret_access_key = {SECRET}\n"
        )

    write("first-file")
    store = open_store(f"s3://renewed/q?endpoint={minio.endpoint}", patience=1)
    store.put("one", b"1")
    write("second-file")
    end_first()
    assert store.get("one") == b"1"
    for half in ("", "[default]\naws_access", "[default]\naws_access_key_id = second-file\n"):
        (tmp_path / ".aws" / "credentials").write_text(half)  # as while it is written
        assert store.get("one") == b"1"
    end_second()
    with pytest.raises(StoreError, match="it does not know the access key"):
        store.get("one")
