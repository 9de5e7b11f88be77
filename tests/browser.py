"""A browser for tests of pages: Chromium as the system has it, on a closed network, that forgives no error."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-sync",
    "--disable-domain-reliability", "--disable-client-side-phishing-detection", "--metrics-recording-only",
)  # fmt: skip
MISSING = "there is no Chromium; `apt-get install chromium` lets the pages be tested"
SCREENSHOTS = "SGDLIMIT_SCREENSHOTS"
"""Names a folder for pictures of the pages, as build/screenshots; without it they go to pytest's own."""

Opened = Callable[..., Any]


def chromium() -> str | None:
    """Where Chromium is."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, one for all tests of a worker."""
    path = chromium()
    if path is None:
        pytest.skip(MISSING)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def contexts(browser) -> Callable[..., Any]:
    """Profiles of the browser by number and options; the pages of one share its cache, as the pages of a user do."""
    return cache(lambda number, **options: browser.new_context(reduced_motion="reduce", **options))


@pytest.fixture
def open_page(contexts) -> Iterator[Opened]:
    """Opens pages: ``open_page(url, width=…, dark=…)``. Errors of their scripts and requests that fail fail the test.

    What a page asked for is ``page.requested``. Those of one profile are tabs: only the last one is in sight.
    """
    pages, wrong = [], []

    def opened(
        url: str, *, width: int = 1280, height: int = 900, dark: bool = False, touch: bool = False,
        scripts: bool = True, profile: int = 0,
    ) -> Any:  # fmt: skip
        page = contexts(profile, has_touch=touch, java_script_enabled=scripts).new_page()
        pages.append(page)
        page.set_default_timeout(90_000)  # other tests compile on the same cores; a page that hangs never comes
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.requested = []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("requestfailed", lambda request: wrong.append(f"request failed: {request.url}: {request.failure}"))
        page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
        page.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
        page.goto(url)
        return page

    yield opened
    for page in pages:
        page.close()
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def screenshots(tmp_path_factory) -> Path:
    """The folder for pictures of pages."""
    named = os.environ.get(SCREENSHOTS)
    folder = Path(named) if named else tmp_path_factory.getbasetemp() / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def scrolls_sideways(page: Any) -> bool:
    """Whether the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
