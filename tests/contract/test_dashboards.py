"""The committed dashboards: made from their source, sound, and about metrics that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.dashboards.base import TITLES
from scripts.dashboards.chosen_model import of_model
from scripts.dashboards.export import FOLDER, documents
from scripts.dashboards.queries.time_range import TimeRange
from scripts.dashboards.queries.variables import Scope, Variable
from scripts.prometheus_tools import find_tools
from tests.contract.promql import check_expressions, metrics_in
from tests.processes import ROOT

DOCS = (ROOT / "docs/metrics.md").read_text()
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
PANELS = [
    pytest.param(board, panel, id=f"{uid}: {panel['title']}")
    for uid, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
# Of others' exporters, checked against the real ones by tests/stack/test_dashboards.py and tests/containers.
FOREIGN = re.compile(r"(prometheus|alertmanager|process|container)_[a-z_]+|up|ALERTS")


def expand(expr: str) -> str:
    """Put a value in the place of each variable, as Grafana does."""
    scope = Scope(TimeRange(0, 3600))
    for name in ("feature", "model"):
        scope = scope.having(Variable(name, [], all_value=".*"))
    return scope.fill(expr, step=15)


def expressions(board: dict[str, Any]) -> list[str]:
    targets = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return targets + [mark["expr"] for mark in board["annotations"]["list"]]


def metrics_of(expr: str) -> set[str]:
    """Return the names of metrics in an expression, and the patterns that names are matched with."""
    return metrics_in(expr) | set(re.findall(r'__name__=~"([^"]+)"', expr))


def documented(metric: str) -> bool:
    names = re.findall(r"^\| `([a-z0-9_]+)", DOCS, flags=re.MULTILINE)
    whole = re.compile(metric.removesuffix("_bucket"))
    return FOREIGN.fullmatch(metric) is not None or any(whole.fullmatch(name) for name in names)


def test_the_dashboards_are_what_their_source_says() -> None:
    """`make dashboards` changes nothing: the JSON is never edited by hand."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == documents()


@pytest.mark.parametrize("uid", [pytest.param(uid, id=uid) for uid in TITLES])
def test_a_dashboard_is_stable_and_linked(uid: str) -> None:
    """Its uid is its file's name, it cannot be edited in place, and links to the others keep the time range."""
    board = BOARDS[uid]
    assert (board["uid"], board["title"], board["editable"], board.get("id")) == (uid, TITLES[uid], False, None)
    assert board["tags"]
    links = {link["url"]: link["keepTime"] and link["includeVars"] for link in board["links"]}
    assert links == {f"/d/{other}": True for other in TITLES if other != uid}
    assert not re.search(r"\$\{DS_|__inputs|__requires", json.dumps(board))
    assert (
        board["templating"]["list"][0] | {"name": "datasource", "type": "datasource", "query": "prometheus"}
        == (board["templating"]["list"][0])
    )


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_explains_itself(board: dict[str, Any], panel: dict[str, Any]) -> None:
    """Title, description and unit are there; data come from the chosen source; red means an alert of that severity."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert {step["color"] for step in steps} <= {"green", "orange", "red"}
    for target in panel["targets"]:
        ranges = re.findall(r"\[([^]]+)\]", target["expr"])
        assert set(ranges) <= {"$__rate_interval", "$__range"}


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_shows_metrics_that_exist(board: dict[str, Any], panel: dict[str, Any]) -> None:
    """Each metric is documented in docs/metrics.md or a known exporter's; no feature or category is named."""
    for target in panel["targets"]:
        found = metrics_of(target["expr"])
        assert found or target["expr"].startswith("count(ALERTS")
        assert not {metric for metric in found if not documented(metric)}


@pytest.mark.parametrize(
    ("expr", "chosen"),
    [
        pytest.param("max(rowcount)", 'max(rowcount{model=~"$model"})', id="a bare name"),
        pytest.param(
            "a{b=~`${c:regex}`} * on (d) group_left () e", 'a{b=~`${c:regex}`,model=~"$model"} * on (d) group_left () '
            'e{model=~"$model"}', id="a join",
        ),
        pytest.param('{__name__=~".+_x",y!=""}[5m]', '{__name__=~".+_x",y!="",model=~"$model"}[5m]', id="no name"),
        pytest.param("time() - (up > 0)", "time() - (up > 0)", id="of no model"),
        pytest.param("sum by (le) (api_x_total)", "sum by (le) (api_x_total)", id="the API's"),
    ],
)  # fmt: skip
def test_series_of_models_are_those_of_the_chosen_one(expr: str, chosen: str) -> None:
    """Each selector of a model's series has the variable, and no other has."""
    assert of_model(expr) == chosen


def test_a_metric_that_nobody_exports_would_be_found() -> None:
    """The check above can fail."""
    assert metrics_of('sum by (job) (rate(nobody_total{a="b"}[1m])) or vector(0)') == {"nobody_total"}
    assert not documented("nobody_total")
    assert not documented(".+_nothing")


@pytest.mark.parametrize("uid", [pytest.param(uid, id=uid) for uid in TITLES])
def test_panels_have_ids_and_do_not_overlap(uid: str) -> None:
    """Every panel has an id of its own and a place of its own in the grid of 24 columns."""
    panels = BOARDS[uid]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_expressions_are_valid(tmp_path: Path) -> None:
    """Promtool takes every expression, with its variables expanded."""
    check_expressions(
        find_tools(), tmp_path, [expand(expr) for board in BOARDS.values() for expr in expressions(board)]
    )


def test_grafana_is_given_the_dashboards() -> None:
    """Compose mounts them where the provider looks, and they are not editable there."""
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/driftloop.yml").read_text())["providers"][0]
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts
    assert provider["allowUiUpdates"] is False
