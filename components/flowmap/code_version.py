"""The version of a step's code: a digest of the sources that can change its result.

The step's own folder (its KFP shell excepted) and every module of this package it imports, at any depth and wherever
the import statement stands, followed through the syntax trees: no git is needed, and an edit can't be forgotten. A
module that the step does not reach, such as the report for base training, does not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import flowmap
from flowmap.artifacts.manifest import canonical_json, sha256_of, sha256_of_file

PACKAGE = "flowmap"
ROOT = Path(flowmap.__file__).parent
# The frame decides whether a step runs, not what it computes (its seeding does, and counts); the configuration's values
# enter the step digest by themselves; stores move bytes that are checked by their digests; progress is only shown; the
# package's own __init__ holds its version number.
_WITHOUT_EFFECT = {
    PACKAGE,
    *(f"{PACKAGE}.{name}" for name in ("step", "config", "progress", "errors", "processes")),
    *(f"{PACKAGE}.artifacts.{name}" for name in ("store", "local_store", "s3_store", "transfer", "checkpoints")),
}
_NOT_SOURCES = {".pyc", ".typed"}


def code_version(step: str) -> str:
    """The sha256 over names and contents of the sources that `flowmap.<step>` runs."""
    return sha256_of(canonical_json({name: sha256_of_file(path) for name, path in sources(step).items()}))


def sources(step: str) -> dict[str, Path]:
    """Every file that counts for a step, by its name relative to the package's parent."""
    folder = ROOT / step
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in _NOT_SOURCES}
    files -= {folder / "component.py"}
    waiting = [path for path in files if path.suffix == ".py"] + [_file_of(f"{PACKAGE}.seeding")]
    while waiting:
        path = waiting.pop()
        files |= {path, *_beside(path)}
        waiting.extend(_imported(path) - files - set(waiting))
    return {path.relative_to(ROOT.parent).as_posix(): path for path in sorted(files)}


def _beside(path: Path) -> set[Path]:
    """Files that a module reads and that are named like it, such as a template or a style sheet."""
    return {other for other in path.parent.glob(f"{path.stem}.*") if other.suffix not in {".py", *_NOT_SOURCES}}


def _imported(path: Path) -> set[Path]:
    return {_file_of(name) for name in _module_names(path) if name not in _WITHOUT_EFFECT}


def _module_names(path: Path) -> Iterator[str]:
    """Modules of this package that a source file imports, with the packages they lie in."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                module = ".".join(parts[:end])
                if parts[0] == PACKAGE and _is_module(module):
                    yield module


def _is_module(name: str) -> bool:
    return _file_of(name).is_file()


def _file_of(name: str) -> Path:
    base = ROOT.joinpath(*name.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
