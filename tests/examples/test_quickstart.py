"""The way in, as a stranger takes it: the script prints before and after, and the notebook draws them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_script_is_short_and_the_reward_lifts_the_points() -> None:
    script = EXAMPLES / "quickstart.py"
    assert len(script.read_text().splitlines()) <= 40
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    before, after = (float(height) for height in re.findall(r"mean height ([+-]\d\.\d+)", done.stdout))
    assert abs(before) < 0.15
    assert after > before + 0.3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_the_notebook_runs_and_is_kept_without_outputs() -> None:
    read: Any = nbformat.read
    notebook = read(EXAMPLES / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert "image/png" in pictures[-1]["data"]
