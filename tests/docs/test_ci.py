"""The files for CI systems, each checked by its own linter."""

import subprocess
from pathlib import Path

from tests.go_programs import go_program

FOLDER = Path(__file__).parents[2] / "docs" / "ci"


def test_the_workflow_for_github_is_one(tmp_path: Path) -> None:
    actionlint = go_program("actionlint", "github.com/rhysd/actionlint/cmd/actionlint", "v1.7.7")
    words = [str(actionlint), "-no-color", str(FOLDER / "github.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
