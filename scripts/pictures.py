"""Draw README's pictures from a demo run: `python -m scripts.pictures`; those of an example with `--example`.

The demo calls this program again once its loop has closed, while the stack still runs.
"""

import argparse
import math
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from scripts.dashboards.base import TITLES
from scripts.dashboards.queries.json_paths import DashboardError
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.demo import EXAMPLES
from scripts.preview.__main__ import ROOT, run
from scripts.stack import ports_from_environment

FOLDER = ROOT / "docs/images"
WIDTH, HEIGHT = 1600, 1000
_FIRST_SECTIONS = {"dashboard-feature-monitoring": 4}  # the others are features, and look alike
_PATIENCE = 300
_CALM = "count_over_time((max(drift_detected) == 0)[1m:1s]) >= 60"
_AGE = "max(time() - process_start_time_seconds{job='prometheus'})"
_DRAWN = "[...document.querySelectorAll('[data-figure]')].every(one => one.matches('.js-plotly-plot'))"
_BOTTOMS = "[...document.querySelectorAll('details')].map(one => one.getBoundingClientRect().bottom)"


def calm_for_a_minute(prometheus: Prometheus) -> None:
    """Wait until the drift alarm has been silent that long, so that the pictures show what came after the promotion."""
    deadline = time.monotonic() + _PATIENCE
    while not prometheus.instant(_CALM, None):
        if time.monotonic() > deadline:
            raise DashboardError(f"the drift alarm was not silent for a minute within {_PATIENCE} s")
        time.sleep(1)


def take(monitor: str, prometheus: str, folder: Path) -> list[Path]:
    """Take the pictures of a stack that runs; raise DashboardError where a dashboard's query fails."""
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        server = Prometheus(prometheus)
        calm_for_a_minute(server)
        age = float(server.instant(_AGE, None)[0]["values"][0][1])
        if not run(ROOT / "grafana/dashboards", Path(work), prometheus, since=f"{age:.0f}s"):
            raise DashboardError("a panel of the dashboards could not be drawn")
        pages = {"monitor": monitor} | {f"dashboard-{uid}": (Path(work) / f"{uid}.html").as_uri() for uid in TITLES}
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox", "--disable-gpu"])
        try:
            return [picture(browser, url, folder / f"{name}.png") for name, url in pages.items()]
        finally:
            browser.close()


def _chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        raise DashboardError("there is no chromium on PATH; on Debian: apt install chromium")
    return found


def picture(browser: Browser, url: str, target: Path) -> Path:
    """Write what a browser shows of a page."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page.goto(url)
    page.wait_for_function(_DRAWN)
    sections = page.evaluate(_BOTTOMS)[: _FIRST_SECTIONS.get(target.stem)]  # the monitor's page has none
    page.set_viewport_size({"width": WIDTH, "height": math.ceil(max(sections, default=HEIGHT))})
    page.screenshot(path=target)
    page.close()
    return target


def main() -> None:
    """Run the demo, and take the pictures at its end; with `--take`, those of the stack in the environment alone."""
    parser = argparse.ArgumentParser(description="Draw README's pictures from a demo run.")
    parser.add_argument("--to", type=Path, default=FOLDER, help="where they go (default: docs/images)")
    parser.add_argument("--take", action="store_true", help="of the stack that runs on the ports of the environment")
    parser.add_argument("--example", choices=EXAMPLES, help="run the demo with this example's rows and model")
    arguments = parser.parse_args()
    try:
        if not arguments.take:
            _chromium()  # or else it is missed at the end only
            sys.exit(_demo(arguments.to.resolve(), arguments.example))
        ports = ports_from_environment()
        monitor, prometheus = (f"http://127.0.0.1:{ports[name]}" for name in ("monitor", "prometheus"))
        for one in take(monitor, prometheus, arguments.to):
            print(f"  {one}  {one.stat().st_size // 1000} kB")
    except DashboardError as error:
        sys.exit(f"driftloop: {error}")


def _demo(folder: Path, example: str | None) -> int:
    then = shlex.join([sys.executable, "-m", "scripts.pictures", "--take", "--to", str(folder)])
    command = [sys.executable, "-m", "scripts.demo", "--then", then]
    command += ["--example", example] if example else []
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    main()
