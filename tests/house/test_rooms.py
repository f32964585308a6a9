"""The house has one direction: who may import whom, as docs/architecture.md draws it."""

import ast
from pathlib import Path

import pytest

import flowmap
import flowmap_pipelines
from flowmap.steps.dag import PIPELINE

ROOT = Path(flowmap.__file__).parent
STEPS = {step.name for step in PIPELINE} | {"run_end"}
SMALL = {
    "errors",
    "json_text",
    "machine",
    "progress",
    "retrying",
    "seeding",
    "page",
}  # modules beside the rooms

# Each room, and the rooms that it may import; itself and the small modules always.
MAY_IMPORT = {
    "settings": set(),
    "artifacts": {"settings"},
    "kubernetes": {"settings"},
    "maps": set(),
    "prompts": set(),
    "asfmc": {"maps"},
    "data": {"settings", "artifacts", "prompts"},
    "lineage": {"settings", "artifacts"},
    "registry": {"settings", "artifacts"},
    "documents": {"settings", "artifacts", "data", "lineage", "registry", "audit"},
    "audit": {"settings", "artifacts", "lineage", "registry"},
    "exporting": {"settings", "maps", "asfmc", "models"},
    "attestation": {"settings", "artifacts", "lineage", "registry", "audit"},
    "reporting": {"settings", "artifacts", "lineage", "registry"},
    "training": {"settings", "artifacts", "maps"},
    "models": {"maps", "prompts"},
    "text_to_image": {"settings", "artifacts", "maps", "prompts", "models", "data", "training"},
    "modality": {"settings", "data", "prompts"},
    "rewards": {"settings", "artifacts", "prompts", "data"},
    "grpo": {"settings", "maps", "asfmc", "models", "rewards", "training"},
    "launching": {"settings", "artifacts", "training", "kubernetes"},
    "steps": {
        "settings",
        "artifacts",
        "lineage",
        "registry",
        "data",
        "modality",
        "rewards",
        "training",
        "launching",
    },
}
SCIENCE = {
    "settings",
    "prompts",
    "text_to_image",
    "artifacts",
    "data",
    "maps",
    "asfmc",
    "models",
    "modality",
    "rewards",
    "grpo",
    "training",
}
STEP_MAY_IMPORT = SCIENCE | {"registry", "steps"}
END_MAY_IMPORT = {"settings", "artifacts", "reporting", "kubernetes"}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """Modules of this project that a file imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "flowmap":
                found |= {f"flowmap.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("flowmap", "flowmap_pipelines")}


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path.parent != ROOT]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_imports_only_what_lies_below_it(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    if path.name == "component.py":
        allowed = {"steps", "registry", "reporting", room}
    elif room == "run_end":
        allowed = END_MAY_IMPORT
    else:
        allowed = STEP_MAY_IMPORT if room in STEPS else MAY_IMPORT[room]
    reached = {room_of(module) for module in imports(path)} - SMALL - {room, ""}
    assert reached <= allowed, f"{path.name} reaches {reached - allowed}"


def test_a_step_takes_of_the_room_of_steps_only_what_it_works_with() -> None:
    for step in STEPS - {"run_end"}:
        for path in (ROOT / step).glob("*.py"):
            if path.name != "component.py":
                taken = {module for module in imports(path) if room_of(module) == "steps"}
                assert taken <= {"flowmap.steps.context"}, path


def test_no_science_knows_of_processes_clusters_or_pipelines() -> None:
    for path in FILES:
        room = path.relative_to(ROOT).parts[0]
        if room in SCIENCE | STEPS - {"run_end"} and path.name != "component.py":
            assert not outside(path) & {"subprocess", "kubernetes", "kfp", "multiprocessing"}, path


def test_the_components_know_nothing_of_where_pipelines_are_started() -> None:
    assert not [
        path for path in ROOT.rglob("*.py") if any("flowmap_pipelines" in name for name in imports(path))
    ]


def outside(path: Path) -> set[str]:
    """Packages of others that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_kfp_is_imported_by_components_alone() -> None:
    assert {path.name for path in ROOT.rglob("*.py") if "kfp" in outside(path)} == {"component.py"}


def test_no_module_is_longer_than_three_hundred_lines() -> None:
    for package in (flowmap, flowmap_pipelines):
        assert package.__file__ is not None
        for path in Path(package.__file__).parent.rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 300, path


def test_nothing_outside_a_modality_knows_of_height_and_width() -> None:
    for path in FILES:
        if path.relative_to(ROOT).parts[0] not in (
            "modality",
            "models",
            "text_to_image",
            "settings",
        ):  # a network may be for images
            text = path.read_text()
            assert "height" not in text, path
