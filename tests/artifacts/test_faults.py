"""What stores and networks do to a run: repeated where it may pass, told clearly where it may not, never
half-done."""

import itertools
import random
import ssl
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import urllib3

from flowmap.artifacts import s3_access
from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.s3_access import credentials, region
from flowmap.artifacts.s3_store import S3Store
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import fetch, publish
from flowmap.errors import ConfigError, IntegrityError, StoreError
from tests.artifacts.faulty_proxy import Fault, Faults, faulty_proxy
from tests.artifacts.token_service import token_service
from tests.faults import fault
from tests.minio_server import CREDENTIALS, MinioServer

DATA = random.Random(1).randbytes(3 << 20)


@pytest.fixture
def faulty(minio: MinioServer) -> Iterator[tuple[ObjectStore, Faults]]:
    with faulty_proxy(minio.endpoint) as (endpoint, faults):
        yield S3Store(endpoint, "flowmap", uuid.uuid4().hex), faults


def first_times(fault: Fault, num: int, method: str) -> Callable[[str, str, int], Fault | None]:
    """The fault for the first few requests of a method, each path counted by itself."""
    return lambda seen, path, earlier: fault if seen == method and earlier < num else None


@fault(
    "the store answers 500 or 503 for a while, closes connections, or an upload's answer is lost",
    "every step, node and command, request by request",
    "the patience",
    "the step fails with what the store said; its checkpoints are kept",
    of="servers",
)
@pytest.mark.parametrize("fault", ["500", "503", "reset", "lost answer"])
def test_an_upload_is_repeated_until_it_passes(
    faulty: tuple[ObjectStore, Faults], tmp_path: Path, fault: Fault
) -> None:
    store, faults = faulty
    (tmp_path / "f").write_bytes(DATA)
    faults.choose = first_times(fault, 3, "PUT")
    store.put_file("x", tmp_path / "f")
    store.put("y", b"small")
    assert max(faults.seen.values()) == 4
    assert (store.get("x"), store.get("y")) == (DATA, b"small")


@fault(
    "the store answers 500 or 503 for a while, closes connections, or an upload's answer is lost",
    of="servers",
)
@pytest.mark.parametrize("fault", ["500", "503", "reset", "cut"])
def test_a_download_is_repeated_or_goes_on_where_it_broke(
    faulty: tuple[ObjectStore, Faults], fault: Fault
) -> None:
    store, faults = faulty
    store.put("x", DATA)
    faults.choose = first_times(fault, 3, "GET")
    assert b"".join(store.chunks("x")) == DATA
    assert faults.seen.total() > 4


@fault(
    "the answer to a creation is lost",
    "the step: what is there and its own counts as made",
    "at once",
    "",
    of="servers",
)
def test_a_lost_answer_does_not_make_a_creation_fail(faulty: tuple[ObjectStore, Faults]) -> None:
    store, faults = faulty
    faults.choose = first_times("lost answer", 1, "PUT")
    assert store.create("x", b"mine")
    faults.choose = lambda method, path, earlier: None
    assert not store.create("x", b"other")
    assert store.get("x") == b"mine"


@fault(
    "bytes are changed in the store, or on the way",
    "those on the way are read again; those in the store are named",
    of="writing",
)
def test_wrong_bytes_on_the_way_are_read_again_and_in_the_store_are_named(
    faulty: tuple[ObjectStore, Faults], tmp_path: Path
) -> None:
    store, faults = faulty
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "f").write_bytes(DATA)
    manifest = build_manifest(tmp_path / "made", step="test", step_digest="0")
    publish(store, tmp_path / "made", manifest)
    faults.choose = first_times("garble", 2, "GET")
    fetch(store, manifest, tmp_path / "copy")
    assert (tmp_path / "copy" / "f").read_bytes() == DATA
    faults.choose = lambda method, path, earlier: "garble" if method == "GET" else None
    with pytest.raises(IntegrityError, match="/f was changed"):
        fetch(store, manifest, tmp_path / "copy")


def test_a_store_that_stays_broken_is_told(faulty: tuple[ObjectStore, Faults]) -> None:
    store, faults = faulty
    faults.choose = lambda method, path, earlier: "cut" if method == "GET" else None
    store.put("x", DATA)
    with pytest.raises(StoreError, match="broke off 5 times at x"):
        store.get("x")


@fault(
    "an upload vanishes, as when the store is started again",
    "the step, from its beginning",
    "three times",
    "the step fails with what the store said; its checkpoints are kept",
    of="servers",
)
@pytest.mark.parametrize("fault", ["503", "reset", "lost answer"])
def test_an_upload_in_parts_whose_end_is_lost_is_made_again(
    faulty: tuple[ObjectStore, Faults], tmp_path: Path, fault: Fault
) -> None:
    """Its first parts too; and what it was completed with, after which the store knows no such upload."""
    store, faults = faulty
    (tmp_path / "f").write_bytes(random.Random(2).randbytes(40 << 20))
    failing = {("PUT", 0), ("PUT", 2), ("POST", 1)}  # the first POST begins it
    faults.choose = lambda method, path, earlier: fault if (method, earlier) in failing else None
    store.put_file("x", tmp_path / "f")
    assert store.get("x") == (tmp_path / "f").read_bytes()
    sent = Counter({method: num for (method, _), num in faults.seen.items()})
    assert sent["PUT"] >= 5
    assert sent["POST"] >= (5 if fault == "lost answer" else 3)  # begun twice, and completed


@fault(
    "the store is killed in mid-upload, and started again",
    "the step: parts that are missing are sent again",
    "the patience",
    "the step fails with what the store said; its checkpoints are kept",
    of="servers",
)
def test_a_store_that_is_killed_in_mid_upload_and_comes_back_is_waited_for(
    minio: MinioServer, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(random.Random(2).randbytes(80 << 20))
    came = threading.Event()

    def notice(method: str, path: str, earlier: int) -> Fault | None:
        if method == "PUT" and earlier == 1:
            came.set()
        return None

    with faulty_proxy(minio.endpoint) as (endpoint, faults):
        faults.choose = notice
        store = open_store(f"s3://flowmap/{uuid.uuid4().hex}?endpoint={endpoint}")
        upload = threading.Thread(target=lambda: store.put_file("x", tmp_path / "f"))
        upload.start()
        assert came.wait(60)
        minio.stop()
        time.sleep(1)
        minio.start()
        upload.join(120)
        assert not upload.is_alive()
        assert store.get("x") == (tmp_path / "f").read_bytes()
        (parts,) = (num for (method, _), num in faults.seen.items() if method == "PUT")
        assert parts > 5


@fault(
    "keys, bucket or region are wrong, a certificate is not trusted",
    "nobody: it does not pass by itself",
    "",
    "the step fails, and the message names what to set",
    of="servers",
)
@pytest.mark.parametrize(
    ("environment", "url", "told"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "nobody"},
            "s3://flowmap/x",
            "does not know the access key; look at AWS_ACCESS_KEY_ID",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "s3://flowmap/x",
            "the secret key is wrong; look at AWS_SECRET_ACCESS",
        ),
        ({}, "s3://absent/x", "the bucket does not exist; make it first"),
    ],
)
def test_what_no_patience_helps_against_is_told_at_once(
    minio: MinioServer, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, told: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"{url}?endpoint={minio.endpoint}")
    with pytest.raises(StoreError, match=told):
        store.put("x", b"")


def test_an_unreachable_store_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://flowmap/x?endpoint=http://127.0.0.1:1", patience=1)
    with pytest.raises(StoreError, match=r"can't be reached .*refused.*is it running"):
        store.exists("x")


def test_without_credentials_the_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CREDENTIALS, "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store("s3://flowmap/x?endpoint=http://127.0.0.1:1")


@fault(
    "the store does not answer, or answers 500, 502, 503, 504",
    "every step, node and command, request by request, with growing pauses",
    "the patience",
    "the step fails with what the store said; its checkpoints are kept",
    of="servers",
)
def test_a_store_that_stays_away_is_waited_for_as_long_as_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FLOWMAP_PATIENCE_S", "7")
    store = open_store("s3://flowmap/x?endpoint=http://127.0.0.1:1")
    began_s = time.monotonic()
    with pytest.raises(StoreError, match="can't be reached"):
        store.exists("x")
    assert time.monotonic() - began_s >= 7
    told = capsys.readouterr().err
    assert told.count("the store at http://127.0.0.1:1 is away, and waited for (") == 1
    monkeypatch.setenv("FLOWMAP_PATIENCE_S", "soon")
    with pytest.raises(ConfigError, match="FLOWMAP_PATIENCE_S=soon: write a number of seconds"):
        open_store("s3://flowmap/x?endpoint=http://127.0.0.1:1")


@fault(
    "a download breaks off",
    "the step, from where it broke",
    "five times without coming further",
    "the step fails with what the store said; its checkpoints are kept",
    of="servers",
)
def test_a_download_that_breaks_off_often_goes_on_while_it_comes_further(
    faulty: tuple[ObjectStore, Faults],
) -> None:
    store, faults = faulty
    store.put("x", DATA)
    faults.choose = first_times("cut", 5, "GET")  # a half of what is left each time
    assert b"".join(store.chunks("x")) == DATA


@pytest.fixture
def self_signed(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server behind a certificate of an authority that nobody knows, and that authority's file."""
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    words = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost"
    )
    command = [*words.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    server = HTTPServer(("127.0.0.1", 0), NotFound)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_port}", certificate
    server.shutdown()


class NotFound(BaseHTTPRequestHandler):
    """Has nothing, and keeps what it was asked for."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@fault(
    "keys, bucket or region are wrong, a certificate is not trusted",
    of="servers",
)
def test_a_store_with_its_own_authority_is_trusted_when_that_is_named(
    self_signed: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, certificate = self_signed
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StoreError, match=r"is not trusted .*AWS_CA_BUNDLE names the certificates"):
        open_store(f"s3://flowmap/x?endpoint={endpoint}").exists("x")  # at once, however patient
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, str(certificate))
            assert not open_store(f"s3://flowmap/x?endpoint={endpoint}").exists("x")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    with pytest.raises(ConfigError, match=r"AWS_CA_BUNDLE: there is no file /nowhere\.pem"):
        open_store(f"s3://flowmap/x?endpoint={endpoint}")


def test_a_proxy_is_asked_where_the_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "localhost")
    NotFound.asked.clear()
    assert not open_store("s3://flowmap/x?endpoint=http://store.example", patience=1).exists("y")
    assert NotFound.asked == ["http://store.example/flowmap/x/y"]
    with pytest.raises(StoreError, match="can't be reached"):
        open_store("s3://flowmap/x?endpoint=http://localhost:1", patience=1).exists("y")
    server.shutdown()


def test_a_pod_with_an_identity_needs_no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*CREDENTIALS, "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / "token"
    token.write_text("a.signed.token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    with token_service(lambda: ("temporary", "secret", "token"), seconds=3600) as (endpoint, asked):
        found = credentials(endpoint).retrieve()
    assert (found.access_key, found.session_token) == ("temporary", "token")
    assert "Action=AssumeRoleWithWebIdentity" in asked[0]
    assert "a.signed.token" in asked[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    monkeypatch.setattr(s3_access, "_IDENTITY_PATIENCE_S", 0.1)
    with pytest.raises(ConfigError, match="the identity of this pod gives no credentials"):
        credentials(endpoint)


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(each, raising=False)
    assert region() == "us-east-1"
    monkeypatch.setenv(name, "eu-central-1")
    assert region() == "eu-central-1"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, minio: MinioServer) -> Iterator[tuple[ObjectStore, Faults]]:
    """A store that waits a second for each answer, where it would wait a minute."""
    monkeypatch.setattr(s3_access, "_TIMEOUT", urllib3.Timeout(connect=1, read=1))
    with faulty_proxy(minio.endpoint) as (endpoint, faults):
        yield S3Store(endpoint, "flowmap", uuid.uuid4().hex), faults


@fault(
    "the store takes a request and says nothing",
    "every step, node and command, request by request",
    "a minute for each answer, then it is asked again",
    "the step fails with what the store said; its checkpoints are kept",
    of="servers",
)
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_server_that_hangs_is_asked_again(impatient: tuple[ObjectStore, Faults], method: str) -> None:
    store, faults = impatient
    faults.choose = first_times("hang", 2, method)
    store.put("x", DATA)
    assert store.get("x") == DATA
    assert max(faults.seen.values()) >= 3


@fault(
    "the store is slow",
    "the step, as long as anything comes within a minute",
    "",
    "",
    of="servers",
)
def test_a_server_that_is_slow_is_waited_for_while_it_comes_further(
    impatient: tuple[ObjectStore, Faults],
) -> None:
    """The whole takes longer than any one wait may."""
    store, faults = impatient
    store.put("x", DATA)
    faults.choose = lambda method, path, earlier: "slow" if method == "GET" else None
    began = time.monotonic()
    assert store.get("x") == DATA
    assert time.monotonic() - began > 2
    assert sum(num for (method, path), num in faults.seen.items() if method == "GET" and "/x" in path) == 1


@fault(
    "this machine's clock is off the store's",
    "nobody",
    "",
    "the message names the clock",
    of="servers",
)
def test_a_clock_that_is_off_is_named(minio: MinioServer, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"s3://flowmap/clock?endpoint={minio.endpoint}")
    monkeypatch.setattr("minio.time.utcnow", lambda: datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(StoreError, match="this machine's clock is off the store's by more than a quarter"):
        store.put("x", b"x")
    monkeypatch.undo()


@fault(
    "this machine's clock jumps while a server is waited for",
    "as if it had not: time is counted by a clock that nobody sets",
    "",
    "",
    of="servers",
)
def test_a_clock_that_jumps_shortens_and_lengthens_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a server is waited for is counted by a clock that nobody sets."""
    jumps = itertools.cycle((0.0, 1e6, -1e6))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    store = open_store("s3://flowmap/x?endpoint=http://127.0.0.1:9", patience=3)
    began = time.monotonic()
    with pytest.raises(StoreError):
        store.get("x")
    assert 2 < time.monotonic() - began < 30
