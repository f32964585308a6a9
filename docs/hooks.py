"""The site's first page is the README, whose links lead to files beside docs/ or into it."""

from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent


def on_page_read_source(page: Any, config: Any) -> str | None:
    """The README in the place of docs/index.md."""
    if page.file.src_uri != "index.md":
        return None
    text = (_ROOT / "README.md").read_text()
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = text.replace(f"[{name}]({name})", name)
    return text.replace("](docs/", "](")
