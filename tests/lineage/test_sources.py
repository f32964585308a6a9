"""The code that ran is kept once, and comes back as it was or not at all."""

import io
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import flowmap
from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.errors import IntegrityError
from flowmap.lineage import sources
from flowmap.lineage.sources import (
    SOURCES,
    fault_of,
    keep_environment,
    keep_sources,
    read_environment,
    unpack_sources,
)
from tests.faults import fault

HERE = Path(flowmap.__file__).parent


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_all_of_it_comes_back(store: LocalStore, tmp_path: Path) -> None:
    unpack_sources(store, keep_sources(store), tmp_path / "then")
    there = tmp_path / "then" / "flowmap"
    names = {path.relative_to(HERE) for path in HERE.rglob("*") if path.is_file()}
    sources = {name for name in names if name.suffix != ".pyc"}
    assert {path.relative_to(there) for path in there.rglob("*") if path.is_file()} == sources
    assert all((there / name).read_bytes() == (HERE / name).read_bytes() for name in sources)
    assert (tmp_path / "then" / "flowmap_pipelines" / "cli.py").is_file()


def test_the_same_code_is_kept_once_whoever_keeps_it(store: LocalStore, tmp_path: Path) -> None:
    first = keep_sources(store)
    script = "import sys; from flowmap.lineage.sources import sources_here; print(sources_here())"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == first == keep_sources(store)
    assert len(list(store.names(SOURCES))) == 1


def test_the_environment_is_what_is_installed(store: LocalStore) -> None:
    first, *lines = read_environment(store, keep_environment(store)).splitlines()
    assert first.startswith(f"# Python {sys.version_info.major}.{sys.version_info.minor}")
    listed = {line.partition("==")[0].lower().replace("_", "-"): line.partition("==")[2] for line in lines}
    for name in ("torch", "pydantic", "great-expectations"):
        assert listed[name] == metadata.version(name)
    assert "flowmap" not in listed  # it lies beside the list, and no index has it


def test_pip_reads_the_list_and_finds_all_of_it_here(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was imported before: some packages carry others in them."""
    inner = tmp_path / "outer" / "_vendor" / "carried-1.0.dist-info"
    inner.mkdir(parents=True)
    (tmp_path / "outer" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(inner.parent))
    sources._installed.cache_clear()
    listed = tmp_path / "requirements.txt"
    listed.write_text(read_environment(store, keep_environment(store)))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--no-index",
        "--no-deps",
        "-r",
        str(listed),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    num = len(listed.read_text().splitlines()) - 1
    assert done.stdout.count("Requirement already satisfied") == num > 100
    assert "Would install" not in done.stdout


def test_what_was_changed_or_is_gone_is_refused(store: LocalStore, tmp_path: Path) -> None:
    digest = keep_sources(store)
    file = store.root / SOURCES / f"{digest}.zip"
    assert fault_of(store, digest, "zip") is None
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(IntegrityError, match="was changed after it was written"):
        unpack_sources(store, digest, tmp_path / "then")
    file.unlink()
    assert fault_of(store, digest, "zip") == f"{SOURCES}/{digest}.zip is missing in {store.url}"
    assert not (tmp_path / "then").exists()


@fault(
    "an archive of code claims gigabytes, or leads elsewhere",
    of="writing",
)
@pytest.mark.parametrize(
    "name", ["../outside.py", "/etc/outside.py", "flowmap/../../outside.py", "other/x.py"]
)
def test_nothing_is_written_elsewhere(store: LocalStore, tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"")
    digest = sha256_of(buffer.getvalue())
    store.put(f"{SOURCES}/{digest}.zip", buffer.getvalue())
    with pytest.raises(IntegrityError, match="which is no file of its packages"):
        unpack_sources(store, digest, tmp_path / "then")
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


@fault(
    "an archive of code claims gigabytes, or leads elsewhere",
    "refused",
    of="writing",
)
def test_a_file_that_claims_gigabytes_is_refused(store: LocalStore, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flowmap/x.py", bytes(65 << 20))
    digest = sha256_of(buffer.getvalue())
    store.put(f"{SOURCES}/{digest}.zip", buffer.getvalue())
    with pytest.raises(IntegrityError, match="larger than code can be"):
        unpack_sources(store, digest, tmp_path / "then")
