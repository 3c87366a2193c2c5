"""The monitor's page in a real browser: a person's way through it, and that everybody can read it."""

import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, sync_playwright
from prometheus_client import CollectorRegistry
from werkzeug.serving import make_server

from monitoring.contract.history import Episode, Scored, TriggeringAlert, keep_episode
from monitoring.contract.layout import Layout
from monitoring.page.fleet_page import create_fleet_app
from monitoring.page.page import create_app
from tests.unit.fleet_fixtures import Folder, look
from tests.unit.models import LOANS
from tests.unit.monitor_fixtures import keep_reference, log_rows, make_rows, monitor_of

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")

# What WCAG 2.1 asks for: 4.5 between a text's color and what lies behind it (formula: its section 1.4.3).
FAINT = """() => {
  const parse = c => { const [r, g, b, a] = c.match(/[\\d.]+/g).map(Number); return [r, g, b, a ?? 1] };
  const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 }); return 0.2126 * x + 0.7152 * y + 0.0722 * z };
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c[3] > 0) return c } return [255, 255, 255, 1] };
  const texts = [...document.querySelectorAll('main *')].filter(e => e.tagName !== 'title' &&
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
  return texts.map(e => { const style = getComputedStyle(e);
    const [a, b] = [light(parse(e.closest('svg') ? style.fill : style.color)), light(behind(e))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.textContent.trim().slice(0, 40)] })
    .filter(([ratio]) => ratio < 4.5) }"""


def episode(outcome: str, *, name: str) -> Episode:
    now = datetime.now(UTC)
    return Episode(
        flow="retrain",
        flow_run_id="0f0e-aaaa",
        started_at=now,
        ended_at=now + timedelta(seconds=len(outcome)),
        outcome=outcome,
        message="said why",
        asked=TriggeringAlert(name=name, starts_at=now),
        champion=Scored(version="6", accuracy=0.5, macro_f1=0.5),
        candidate=Scored(version="7", accuracy=0.75, macro_f1=0.7),
        version="7",
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page of a model whose data have drifted, with a history."""
    data = tmp_path_factory.mktemp("data")
    keep_reference(data, LOANS, make_rows(LOANS, 200), model_version="7")
    log_rows(data, LOANS, make_rows(LOANS, 120, seed=1, shift=2))
    for outcome, name in (("Promoted", "ModelDrift"), ("Failed", "<script>document.title = 'mine'</script>")):
        keep_episode(Layout(data), episode(outcome, name=name))
    monitor, registry = monitor_of(data)
    monitor.cycle()
    yield from _serve(create_app(monitor, registry, lambda: True))


@pytest.fixture(scope="module")
def overview(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the pages of a model that drifts, one that is well, one without a reference, and a faulty file."""
    folder = Folder(tmp_path_factory.mktemp("fleet"))
    for name, shift in (("drifting", 2.0), ("well", 0.0)):
        folder.fill(name, shift=shift)
    folder.write("new")
    (folder.configs / "faulty.yml").write_text("model: [")
    for outcome in ("Promoted", "Failed"):
        keep_episode(Layout(folder.data / "well"), episode(outcome, name="ModelDrift"))
    fleet = folder.fleet()
    look(fleet)
    yield from _serve(create_fleet_app(fleet, CollectorRegistry(), lambda: True))


def _serve(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [pytest.param(1600, id="desk"), pytest.param(390, id="phone")])
@pytest.mark.parametrize("shown", ["address", "overview"])
def test_everybody_can_read_the_page(
    request: pytest.FixtureRequest, browser: Browser, shown: str, width: int, scheme: str
) -> None:
    """Nothing scrolls sideways, text has contrast, headings order, tables heads; nothing comes from elsewhere."""
    address = request.getfixturevalue(shown)
    page: Page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(FAINT) == []
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => h.tagName)")
    assert levels[0] == "H1"
    assert levels.count("H1") == 1
    assert (
        page.evaluate("[...document.querySelectorAll('table')].filter(t => !t.querySelector('th[scope]')).length") == 0
    )
    assert not [url for url in asked if not url.startswith(address) and not url.endswith("/favicon.ico")]
    assert not [text for text in said if "favicon" not in text and "404" not in text]
    assert "mine" not in page.title()
    page.close()


def test_a_person_finds_the_verdict_the_reason_and_the_report(address: str, browser: Browser) -> None:
    """From the verdict to the history, the newest report, all reports, and back."""
    page: Page = browser.new_page()
    page.goto(address)
    assert page.locator(".verdict strong").inner_text().startswith("The data have drifted: ")
    assert "since at least" in page.locator(".verdict").inner_text()
    assert "cannot say what fires" in page.get_by_role("alert").inner_text()  # there is no Prometheus here
    history = page.get_by_role("table").filter(has_text="champion before")
    assert history.get_by_role("row").count() == 3
    assert history.get_by_role("link", name="retrain").first.get_attribute("href") == (
        "http://127.0.0.1:4200/runs/flow-run/0f0e-aaaa"
    )
    assert history.get_by_role("link", name="version 7").first.get_attribute("href") == (
        f"http://127.0.0.1:5000/#/models/{LOANS.model.name}/versions/7"
    )
    page.get_by_role("link", name="Evidently report").click()
    page.get_by_text("Drift per Column").first.wait_for()
    page.go_back()
    page.get_by_role("link", name="All reports").click()
    page.get_by_role("row").nth(1).get_by_role("link").first.click()
    page.wait_for_url(f"{address}/reports/*-failing-120")
    page.go_back()
    page.get_by_role("link", name="Monitor").click()
    assert page.get_by_role("heading", name=LOANS.model.name).is_visible()
    page.close()


def test_a_person_finds_the_model_that_needs_attention(overview: str, browser: Browser) -> None:
    """It stands first; its page leads to its report and back to all models."""
    page: Page = browser.new_page()
    page.goto(overview)
    models = page.get_by_role("table").filter(has_text="how it is")
    assert models.get_by_role("link").all_inner_texts() == ["drifting", "new", "well"]
    assert page.locator(".verdict strong").all_inner_texts() == [
        "1 of 3 models needs attention",
        "1 config file cannot be used",
    ]
    models.get_by_role("link", name="drifting").click()
    page.get_by_role("link", name="Evidently report").click()
    page.get_by_text("Drift per Column").first.wait_for()
    page.go_back()
    page.get_by_role("link", name="All models").click()
    assert page.get_by_role("heading", name="3 models").is_visible()
    page.close()
