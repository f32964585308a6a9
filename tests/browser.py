"""A page in a real browser: needs no network, logs no error, fits a telephone, can be read without eyes or
mouse.

A machine without Chromium skips this and says so; with CI=true that is a failure. The fixture `page` is in
conftest.py.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, sync_playwright


def open_page() -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        told = "no chromium; Debian's package of that name brings it"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def stands_alone_and_fits(page: Page, path: Path, width: int, scheme: Literal["light", "dark"]) -> None:
    """Open a page and assert it; the page stays open for more."""
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path.as_uri())
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    levels = page.eval_on_selector_all("h1,h2,h3", "found => found.map(heading => +heading.tagName[1])")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "a heading is skipped"
    for region in page.locator(
        ".scroll"
    ).all():  # what scrolls can be scrolled by keyboard, and says what it is
        assert region.get_attribute("tabindex") == "0"
        assert region.get_attribute("aria-label")
    for picture in page.locator("main svg").all():
        # With links in it it is a group of them: an image is a single thing to those who listen.
        assert picture.get_attribute("role") == ("group" if picture.locator("a").count() else "img")
        assert picture.get_attribute("aria-label")
