"""The picture of the DAG in the documentation is made from the definitions."""

from pathlib import Path

import pytest

from flowmap_pipelines.dag_picture import mermaid

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_picture_is_that_of_the_steps(page: str) -> None:
    """`python -m flowmap_pipelines.dag_picture` prints it anew."""
    assert mermaid() in (ROOT / page).read_text()
