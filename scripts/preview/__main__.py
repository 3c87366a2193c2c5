"""Draw every dashboard: `python -m scripts.preview --help`."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.dashboards.queries.json_paths import DashboardError, Json, dig
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.dashboards.queries.sections import load_dashboard, sections_of
from scripts.dashboards.queries.time_range import read_range
from scripts.dashboards.queries.variables import resolve
from scripts.make_secrets import USER
from scripts.preview.annotations import marks_of
from scripts.preview.page import Drawing, DrawnSection, page
from scripts.preview.panels import Drawn, draw

ROOT = Path(__file__).resolve().parents[2]


def draw_dashboard(dashboard: Json, source: str, prometheus: Prometheus, since: str = "") -> Drawing:
    """Return a dashboard with live data; `since` (`30m`) replaces the dashboard's own range."""
    start = f"now-{since}" if since else dig(dashboard, "time.from", "now-6h")
    time = read_range(start, "now" if since else dig(dashboard, "time.to", "now"))
    scope = resolve(dashboard, time, prometheus)
    marks = marks_of(dashboard, scope, prometheus)
    sections = [
        DrawnSection(section, [draw(panel, prometheus, marks) for panel in section.panels])
        for section in sections_of(dashboard, scope)
    ]
    return Drawing(dashboard, source, scope, sections, marks)


def _remarks(panels: Sequence[Drawn]) -> Iterator[str]:
    """Give a line per panel that failed or is empty."""
    for one in panels:
        if one.problem:
            yield f"    {one.panel.title}: {'no data' if one.empty else one.problem}"


def _source(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def run(folder: Path, out: Path, url: str, since: str = "") -> bool:
    """Write a page per dashboard of a folder, say what failed or is empty, and return whether nothing failed."""
    password = os.environ.get("PROMETHEUS_PASSWORD_FILE")
    prometheus = Prometheus(url, (USER, Path(password).read_text(encoding="ascii").strip()) if password else None)
    prometheus.require_ready()
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DashboardError(f"no dashboards in {folder}")
    dashboards = {path: load_dashboard(path) for path in paths}
    out.mkdir(parents=True, exist_ok=True)
    well = True
    for path, dashboard in dashboards.items():
        try:
            drawing = draw_dashboard(dashboard, _source(path), prometheus, since)
        except DashboardError as error:  # of a variable or an annotation; panels bear their own
            raise DashboardError(f"{_source(path)}: {error}") from error
        panels = drawing.panels
        target = out / f"{dashboard['uid']}.html"
        target.write_text(page(drawing, [*dashboards.values()]), encoding="utf-8")
        failed = sum(bool(one.problem) and not one.empty for one in panels)
        empty = sum(one.empty for one in panels)
        print(f"  {target}  {len(panels)} panels, {failed} failed, {empty} empty")
        print("".join(f"{line}\n" for line in _remarks(panels)), end="")
        well = well and not failed
    return well


def main() -> None:
    """Draw the committed dashboards; exit 1 where a query failed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.preview", description="Draw the dashboards as HTML pages.")
    url = os.environ.get("PROMETHEUS_URL") or "http://127.0.0.1:9090"
    parser.add_argument("--prometheus", default=url, help="its address (default: %(default)s)")
    parser.add_argument("--dashboards", type=Path, default=ROOT / "grafana/dashboards", help="a folder of JSON")
    parser.add_argument("--out", type=Path, default=ROOT / ".local/dashboards", help="where the pages go")
    parser.add_argument("--since", default="", metavar="30m", help="how far back (default: what each dashboard says)")
    arguments = parser.parse_args()
    try:
        well = run(arguments.dashboards, arguments.out, arguments.prometheus, arguments.since)
    except DashboardError as error:
        sys.exit(f"driftloop: {error}")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
