"""What the HTML pages of a run share: one file each that needs no network, light and dark, narrow and wide.

page = render(Path(__file__).with_name("page.html"), title="x")      # `style` is always there
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

# A report that has been stored is never changed; what is known only later goes into a copy, in the place of
# these.
TOP_OF_REPORT = "<!-- the model -->"
END_OF_REPORT = "<!-- the run -->"

_STYLE = Path(__file__).with_name("page.css")


def render(template: Path, **values: Any) -> str:
    """The page of a Jinja template; what comes from outside is text and no markup, a missing value an
    error."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["by_count"] = lambda rows: sorted(rows.items(), key=lambda item: int(item[0]))
    return environment.from_string(template.read_text()).render(style=Markup(_STYLE.read_text()), **values)
