"""The preview's page in a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from scripts.preview.__main__ import run
from tests.unit.preview_fixtures import NASTY, every_kind, prometheus_with_data, write_dashboard

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")

DRAWN = "[data-figure].js-plotly-plot"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Draw a dashboard with every kind of panel."""
    folder = tmp_path_factory.mktemp("preview")
    write_dashboard(folder, *every_kind())
    with prometheus_with_data(folder) as url:
        assert run(folder, folder / "out", url)
    return Path(folder / "out/one.html").as_uri()


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """Open the page; at the end nothing was asked for over the network, and nothing complained."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1600, "height": 1200})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url != address else None)
        page.goto(address)
        yield page
        browser.close()
    assert not said


def test_every_figure_is_drawn_under_the_pages_own_policy(page: Page) -> None:
    """Plotly runs although the policy allows no script but those on the page, and a nasty name is a text in it."""
    page.locator(DRAWN).first.wait_for()
    assert page.locator(DRAWN).count() == page.locator("[data-figure]").count() == 3
    assert page.locator("svg.main-svg text", has_text=NASTY).count() >= 1


@pytest.mark.parametrize("width", [1600, 390])
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    """On a desk and on a phone."""
    page.set_viewport_size({"width": width, "height": 800})
    page.reload()
    page.locator(DRAWN).first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
