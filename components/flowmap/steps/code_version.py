"""The version of a step's code: a digest of the sources that can change its result.

The step's own folder (its KFP shell excepted) and every module of this package it imports, at any depth and
wherever the import statement stands, followed through the syntax trees: no git is needed, and an edit can't
be forgotten. What it imports by name only, as the kinds of rewards its settings ask for, its definition
says. A module that the step does not reach, such as the report for base training, does not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import flowmap
from flowmap.artifacts.digest import canonical_json, sha256_of, sha256_of_file

PACKAGE = "flowmap"
ROOT = Path(flowmap.__file__).parent
_COUNTED = f"{PACKAGE}.artifacts.digest"  # seeds are made with it
# Rooms and modules that change no result: settings' values enter the step digest by themselves, and the rest
# is about checking them; the frame decides whether a step runs; stores move bytes that are checked by their
# digests; launching and Kubernetes decide where training runs; records, curves and progress are only shown;
# what a training process is told is told by the frame. The package's own __init__
# names what there is and imports nothing.
WITHOUT_EFFECT = (
    *(
        f"{PACKAGE}.{room}"
        for room in ("settings", "steps", "launching", "kubernetes", "lineage", "reporting", "artifacts")
    ),
    *(
        f"{PACKAGE}.{name}"
        for name in ("progress", "errors", "retrying", "training.events", "training.work")
    ),
)
_NOT_SOURCES = {".pyc", ".typed"}


def code_version(step: str, modules: Sequence[str] = ()) -> str:
    """The sha256 over names and contents of the sources that `flowmap.<step>` runs, with those of
    `modules`."""
    found = sources(step, modules)
    return sha256_of(canonical_json({name: sha256_of_file(path) for name, path in found.items()}))


def sources(step: str, modules: Sequence[str] = ()) -> dict[str, Path]:
    """Every file that counts for a step, by its name relative to the package's parent.

    Args:
        modules: of this package, that the step imports by name only.
    """
    folder = ROOT / step
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in _NOT_SOURCES}
    files -= {folder / "component.py"}
    waiting = [path for path in files if path.suffix == ".py"]
    waiting += [_file_of(name) for name in (f"{PACKAGE}.seeding", *_with_packages(modules))]
    while waiting:
        path = waiting.pop()
        files |= {path, *_beside(path)}
        waiting.extend(_imported(path) - files - set(waiting))
    return {path.relative_to(ROOT.parent).as_posix(): path for path in sorted(files)}


def is_without_effect(module: str) -> bool:
    """Whether a module of this package can change no result."""
    if module in (PACKAGE, _COUNTED):
        return module == PACKAGE
    return any(module == each or module.startswith(f"{each}.") for each in WITHOUT_EFFECT)


def _beside(path: Path) -> set[Path]:
    """Files that a module reads and that are named like it, such as a template or a style sheet."""
    return {
        other for other in path.parent.glob(f"{path.stem}.*") if other.suffix not in {".py", *_NOT_SOURCES}
    }


def _imported(path: Path) -> set[Path]:
    return {_file_of(name) for name in _module_names(path) if not is_without_effect(name)}


def _module_names(path: Path) -> Iterator[str]:
    """Modules of this package that a source file imports, with the packages they lie in."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from _with_packages([alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from _with_packages(
                [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            )


def _with_packages(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            if parts[0] == PACKAGE and _file_of(module).is_file() and module != PACKAGE:
                yield module


def _file_of(name: str) -> Path:
    base = ROOT.joinpath(*name.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
