"""A real Prometheus with known data, and a dashboard that the preview draws from it."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from scripts.dashboards.chosen_model import model_variable
from scripts.dashboards.limits import Limit
from scripts.dashboards.panels import DATASOURCE, Display, Query, bars, heat, levels, number, rows, time_series
from scripts.prometheus_tools import find_tools
from tests.processes import answers, eventually, free_port, process

NASTY = "<script>alert(1)</script>"
STEP = 15


def _samples(now: int) -> str:
    """Return twenty minutes of series, with a name that would run if a page did not escape it."""
    lines = ["# TYPE share gauge", "# TYPE promoted gauge"]
    series = {'share{kind="plain"}': 0.25, f'share{{kind="{NASTY}"}}': 0.75}
    moments = range(now - 1200, now + 1, STEP)
    lines += [f"{name} {value} {moment}" for name, value in series.items() for moment in moments]
    lines += [f"promoted {int(moment == moments[40])} {moment}" for moment in moments]
    return "\n".join([*lines, "# EOF", ""])


@contextmanager
def prometheus_with_data(folder: Path) -> Iterator[str]:
    """Run a Prometheus on a free port over backfilled data; give its address."""
    tools = find_tools()
    (folder / "samples").write_text(_samples(int(time.time())))
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    backfill = [tools.promtool, "tsdb", "create-blocks-from", "openmetrics", folder / "samples", folder / "data"]
    subprocess.run(backfill, check=True, capture_output=True)
    url = f"http://127.0.0.1:{free_port()}"
    command = [tools.prometheus, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address={url.removeprefix('http://')}", "--log.level=error"]  # fmt: skip
    with process(command, folder / "log") as child:
        eventually("Prometheus to be ready", answers(f"{url}/-/ready", child, folder / "log"), 30)
        yield url


def write_dashboard(folder: Path, *panels: object, name: str = "one") -> Path:
    """Write a dashboard of panels as Grafana would get it; return its file."""
    kind = build.QueryVariable("kind").multi(True).include_all(True).all_value(".*")
    kind.query({"query": "label_values(share, kind)", "refId": "kind"}).sort(model.VariableSort.NATURAL_ASC)
    board = build.Dashboard(f"Board {name}").uid(name).time("now-20m", "now").refresh("")
    board = board.with_variable(build.DatasourceVariable("datasource").type("prometheus"))
    board = board.with_variable(model_variable(DATASOURCE))
    board = board.with_variable(kind.current(model.VariableOption(text="All", value="$__all")))
    mark = build.AnnotationQuery().name("Promotions").enable(True).icon_color("blue")
    board = board.annotation(mark.expr("promoted > 0"))
    for panel in panels:
        board = board.with_row(panel) if isinstance(panel, build.Row) else board.with_panel(panel)
    target = folder / f"{name}.json"
    target.write_text(JSONEncoder(sort_keys=True, indent=1).encode(board.build()))
    return target


def a_number(title: str, expression: str) -> object:
    """Return a panel of a large value."""
    return number(title, "", Display(), Query(expression))


def every_kind(shares: str = 'share{kind=~"$kind"}') -> list[object]:
    """Return a panel of each kind that the dashboards are made of, and a row that repeats."""
    limit, display = Limit(0.5, below=False, color="red"), Display(unit="percentunit")
    return [
        build.Row("What is there?"),
        time_series("Lines", f"Is {NASTY} text?", display, Query(shares, "{{kind}}"), limit=limit),
        number("Stats", "", display, Query(shares), limit=limit),
        levels("Levels", "", display, Query(shares), limit=limit),
        bars("Bars", "", display, Query(shares, "share"), by="kind"),
        rows("Rows", "", display, Query(shares, "portion"), names={}, by="kind"),
        heat("Cells", "", display, Query(shares)),
        build.Row("Of $kind").repeat("kind"),
        a_number("$kind alone", shares),
    ]
