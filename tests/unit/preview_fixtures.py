"""A real Prometheus with known data, and a dashboard that the preview draws from it."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    gauge,
    heatmap,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus as queries
from grafana_foundation_sdk.builders import text as text_panel
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from scripts.prometheus_tools import find_tools

NASTY = "<script>alert(1)</script>"
STEP = 15


def _samples(now: int) -> str:
    """Return twenty minutes of series, with a name that would run if a page did not escape it."""
    lines = ["# TYPE share gauge", "# TYPE promoted gauge", "# TYPE buckets_bucket unknown"]
    series = {'share{kind="plain"}': 0.25, f'share{{kind="{NASTY}"}}': 0.75}
    series |= {f'buckets_bucket{{le="{bound}"}}': float(count) for bound, count in (("1", 2), ("10", 5), ("+Inf", 6))}
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
    with subprocess.Popen(command, cwd=folder) as process:
        try:
            _await(url)
            yield url
        finally:
            process.terminate()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if requests.get(f"{url}/-/ready", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        if time.monotonic() > deadline:
            pytest.fail("Prometheus is not ready within 30 s")
        time.sleep(0.05)


def query(expression: str, legend: str = "__auto") -> queries.Dataquery:
    """Return a range query."""
    return queries.Dataquery().expr(expression).legend_format(legend).range().ref_id("A")


def instant_table(expression: str, ref_id: str = "A") -> queries.Dataquery:
    """Return an instant query whose answer is a table."""
    return queries.Dataquery().expr(expression).instant().format("table").ref_id(ref_id)


def write_dashboard(folder: Path, *panels: object, name: str = "one") -> Path:
    """Write a dashboard of panels as Grafana would get it; return its file."""
    kind = build.QueryVariable("kind").query("label_values(share, kind)").multi(True).include_all(True)
    board = build.Dashboard(f"Board {name}").uid(name).time("now-20m", "now").refresh("")
    board = board.with_variable(build.DatasourceVariable("datasource").type("prometheus"))
    board = board.with_variable(kind.current(model.VariableOption(text="All", value="$__all")))
    board = board.annotation(build.AnnotationQuery().name("Promotions").enable(True).expr("promoted > 0"))
    for panel in panels:
        board = board.with_row(panel) if isinstance(panel, build.Row) else board.with_panel(panel)
    target = folder / f"{name}.json"
    target.write_text(JSONEncoder(sort_keys=True, indent=1).encode(board.build()))
    return target


def every_kind(shares: str = 'share{kind=~"$kind"}') -> list[object]:
    """Return a panel of each kind that the preview draws."""
    steps = [model.Threshold(value=None, color="green"), model.Threshold(value=0.5, color="red")]
    limits = build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
    dashed = common.GraphThresholdsStyleConfig().mode(common_model.GraphThresholdsStyleMode.DASHED)
    states = [model.RangeMap(options=model.DashboardRangeMapOptions(
        from_val=0.5, to=1, result=model.ValueMappingResult(text="many", color="red")))]  # fmt: skip
    transformation = model.DataTransformerConfig(
        id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": {"Value": "portion"}}
    )
    legend = common.VizLegendOptions().show_legend(True).placement(common_model.LegendPlacement.BOTTOM)
    return [
        build.Row("What is there?"),
        text_panel.Panel().title("Words").content(f"**Bold** {NASTY} [other](/d/two?x=1) [bad](javascript:alert)"),
        timeseries.Panel().title("Lines").unit("percentunit").with_target(query(shares, "{{kind}}")).legend(legend)
        .thresholds(limits).thresholds_style(dashed),
        stat.Panel().title("Stats").unit("percentunit").with_target(query(shares)).thresholds(limits).mappings(states),
        gauge.Panel().title("Dials").min(0).max(1).with_target(query(shares)).thresholds(limits),
        bargauge.Panel().title("Levels").with_target(query(shares)).thresholds(limits),
        barchart.Panel().title("Bars").x_field("kind").with_target(instant_table(shares)),
        table.Panel().title("Rows").with_target(instant_table(shares)).with_transformation(transformation),
        statetimeline.Panel().title("States").with_target(query(shares)).mappings(states),
        heatmap.Panel().title("Cells").with_target(query("buckets_bucket", "{{le}}").format("heatmap")),
        build.Row("Hidden").collapsed(True).with_panel(
            stat.Panel().title("Of $kind").repeat("kind").with_target(query('share{kind=~"$kind"}'))),
    ]  # fmt: skip
