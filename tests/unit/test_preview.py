"""The dashboards drawn without Grafana, from a real Prometheus."""

import base64
import hashlib
import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.dashboards.queries.json_paths import DashboardError
from scripts.preview.__main__ import ROOT, run
from tests.processes import free_port
from tests.unit.preview_fixtures import NASTY, a_number, every_kind, prometheus_with_data, write_dashboard


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus_with_data(tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@pytest.fixture(scope="module")
def whole(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a dashboard with every kind of panel, drawn without a complaint."""
    folder = tmp_path_factory.mktemp("whole")
    write_dashboard(folder, *every_kind())
    write_dashboard(folder, name="two")
    assert run(folder, folder / "out", prometheus)
    return (folder / "out/one.html").read_text()


def figures(page: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def visible(page: str) -> str:
    return page.partition("<body>")[2].partition('<script type="application/json"')[0]


def draw(folder: Path, url: str, *panels: object) -> tuple[bool, str]:
    write_dashboard(folder, *panels)
    well = run(folder, folder / "out", url)
    return well, (folder / "out/one.html").read_text()


def test_every_kind_of_panel_is_drawn(whole: str) -> None:
    """No panel is empty or failed, and the page says what it is."""
    assert 'class="problem' not in whole
    assert "Preview, drawn without Grafana from" in whole
    assert '<a href="two.html">Board two</a>' in whole
    assert {"scatter", "bar", "heatmap"} == {t["type"] for f in figures(whole) for t in f["data"]}


def test_names_from_outside_stay_text(whole: str) -> None:
    """A category called like a script is shown, and is neither an element nor the end of one."""
    assert NASTY not in whole
    assert visible(whole).count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in {t.get("name") for f in figures(whole) for t in f["data"]}


def test_the_page_needs_nothing_else_and_runs_its_own_scripts_alone(whole: str) -> None:
    """The policy in the page names the hash of each script; no element loads anything."""
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', whole)
    assert policy
    allowed = set(re.findall(r"sha256-([\w+/=]+)", policy[1].replace("&#43;", "+")))
    scripts = re.findall(r"<script>(.*?)</script>", whole, re.DOTALL)
    assert {base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts} == allowed
    assert not re.search(r"<(script|img|link|iframe)[^>]*(src|href)=", whole.partition("<script>")[0])


def test_a_line_has_its_legend_unit_threshold_and_events(whole: str) -> None:
    """The series is named by its label, ticks are percent, the threshold is a dashed line, a promotion a mark."""
    lines = figures(whole)[0]
    assert [trace["name"] for trace in lines["data"]][1] == "plain"
    assert lines["data"][1]["customdata"][0] == "25%"
    assert lines["layout"]["yaxis"]["ticktext"][0].endswith("%")
    shapes = lines["layout"]["shapes"]
    assert [shape["y0"] for shape in shapes if shape.get("y0") == shape.get("y1")] == [0.5]
    assert [note["hovertext"] for note in lines["layout"]["annotations"]] == ["Promotions"]


def test_values_are_written_in_their_unit_and_their_thresholds_colour(whole: str) -> None:
    """0.75 is above the threshold, 0.25 is not; a table's columns are the ones that are left."""
    stats = re.search(r'<div class="stats.*?</section>', whole, re.DOTALL)
    assert stats
    assert re.findall(r"<b [^>]*>(.*?)</b>", stats[0]) == ["75%", "25%"]
    assert re.findall(r'class="stat" style="color:(.*?)"', stats[0]) == ["#F2495C", "#73BF69"]
    assert re.findall(r"<th [^>]*>(.*?)</th>", visible(whole)) == ["__name__", "kind", "portion"]


def test_a_row_repeats_with_its_panels(whole: str) -> None:
    """Once per value of its variable."""
    repeated = visible(whole).partition("<summary>Of ")[2]
    titles = re.findall(r"<h2><span>(.*?)</span>", repeated)
    assert titles == ["&lt;script&gt;alert(1)&lt;/script&gt; alone", "plain alone"]


def test_a_query_that_fails_is_said_on_its_panel_and_by_the_exit(
    prometheus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other panels are drawn."""
    well, page = draw(tmp_path, prometheus, a_number("Bad", "rate(("), a_number("Good", "share"))
    assert not well
    assert 'class="problem failed">The query failed: ' in page
    assert visible(page).count('class="problem') == 1
    assert "2 panels, 1 failed, 0 empty" in capsys.readouterr().out


def test_a_panel_without_data_is_named(prometheus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is no failure, but it is said, on the page and in the output."""
    well, page = draw(tmp_path, prometheus, a_number("Nothing", "absent_series"))
    assert well
    assert ">No data</div>" in page
    assert "Nothing: no data" in capsys.readouterr().out


def test_an_infinite_value_breaks_no_panel(prometheus: str, tmp_path: Path) -> None:
    """A number divided by nothing is infinite where values are written, and left out where they are drawn."""
    kinds = every_kind('share{kind=~"$kind"} / 0')
    well, page = draw(tmp_path, prometheus, *kinds)
    assert well
    assert 'class="problem' not in page
    assert visible(page).count("∞") >= 6
    assert "nan" not in visible(page).lower()


def test_a_variable_that_fails_names_its_dashboard(prometheus: str, tmp_path: Path) -> None:
    """Nothing can be drawn without it."""
    path = write_dashboard(tmp_path, a_number("A", "share"))
    path.write_text(path.read_text().replace("label_values(share, kind)", "label_values(share{{, kind)"))
    with pytest.raises(DashboardError, match=r"one\.json: .*parse error"):
        run(tmp_path, tmp_path / "out", prometheus)


def test_what_the_preview_cannot_draw_is_said(prometheus: str, tmp_path: Path) -> None:
    """A kind of panel and a transformation that it does not know fail by name."""
    path = write_dashboard(tmp_path, a_number("A", "share"))
    content = json.loads(path.read_text())
    content["panels"].append({**content["panels"][0], "type": "nodeGraph", "title": "B"})
    content["panels"].append({**content["panels"][0], "transformations": [{"id": "spatial", "options": {}}]})
    path.write_text(json.dumps(content))
    assert not run(tmp_path, tmp_path / "out", prometheus)
    page = (tmp_path / "out/one.html").read_text()
    assert "draws no panels of type nodeGraph" in page
    assert "does not know the transformation spatial" in page


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        pytest.param("options.colorMode", "background", 'options.colorMode = "background"', id="another value"),
        pytest.param("options.text.titleSize", 12, "options.text.titleSize = 12", id="another option"),
        pytest.param("fieldConfig.defaults.unit", "furlongs", 'defaults.unit = "furlongs"', id="a unit"),
        pytest.param("fieldConfig.defaults.mappings", [{"type": "value"}], 'mappings.type = "value"', id="a mapping"),
        pytest.param("fieldConfig.defaults.color.mode", "fixed", 'color.mode = "fixed"', id="a colour's mode"),
        pytest.param("targets", [{"expr": "share", "hide": True}], "targets.hide = true", id="a query"),
        pytest.param("repeat", "kind", 'repeat = "kind"', id="a panel that repeats"),
        pytest.param("interval", "1m", 'interval = "1m"', id="a step"),
    ],
)
def test_a_setting_that_would_be_drawn_wrongly_is_said_on_its_panel(
    prometheus: str, tmp_path: Path, setting: str, value: Any, named: str
) -> None:
    """It is named with its value, and nothing is drawn."""
    path = write_dashboard(tmp_path, a_number("A", "share"))
    content = json.loads(path.read_text())
    *parents, last = setting.split(".")
    node = content["panels"][0]
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    path.write_text(json.dumps(content))
    assert not run(tmp_path, tmp_path / "out", prometheus)
    page = (tmp_path / "out/one.html").read_text()
    assert visible(page).count('class="problem failed"') == 1
    assert named in html.unescape(visible(page))


def test_a_setting_that_drawing_needs_is_named(prometheus: str, tmp_path: Path) -> None:
    """A panel without it is not drawn in some other way."""
    path = write_dashboard(tmp_path, a_number("A", "share"))
    content = json.loads(path.read_text())
    del content["panels"][0]["options"]["graphMode"]
    path.write_text(json.dumps(content))
    assert not run(tmp_path, tmp_path / "out", prometheus)
    assert "needs the setting &#39;graphMode&#39;" in (tmp_path / "out/one.html").read_text()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"templating": {"list": [{"type": "interval", "name": "v"}]}}, "no variables of type interval",
                     id="a kind of variable"),
        pytest.param({"annotations": {"list": [{"name": "n", "filter": {"ids": [1]}}]}}, r"n: .*filter\.ids = 1",
                     id="an annotation of some panels"),
        pytest.param({"panels": [{"type": "row", "title": "R", "collapsed": True, "gridPos": {"x": 0, "y": 0}}]},
                     "row R: .*collapsed = true", id="a collapsed row"),
        pytest.param({"timepicker": {"hidden": True}}, "timepicker.hidden = true", id="something else"),
        pytest.param({"time": {"from": "now/d", "to": "now"}}, "now/d", id="a time"),
    ],
)  # fmt: skip
def test_a_dashboard_that_would_be_read_wrongly_is_refused(
    prometheus: str, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    """The message holds the file's name and what is not known."""
    path = write_dashboard(tmp_path, a_number("A", "share"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DashboardError, match=rf"one\.json: .*{named}"):
        run(tmp_path, tmp_path / "out", prometheus)


def test_the_committed_dashboards_ask_nothing_that_prometheus_refuses(prometheus: str, tmp_path: Path) -> None:
    """Each becomes a page under its uid, whatever data there is."""
    assert run(ROOT / "grafana/dashboards", tmp_path, prometheus)
    uids = {json.loads(path.read_text())["uid"] for path in (ROOT / "grafana/dashboards").glob("*.json")}
    assert {path.stem for path in tmp_path.glob("*.html")} == uids


def test_without_prometheus_the_command_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    """One line of reason and the two ways out, no traceback."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "scripts.preview", "--prometheus", url, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"cannot be reached at {url} (nothing listens there)" in done.stderr
    assert "`make run`" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ["", "{", "[]", '{"uid": "../x"}'])
def test_a_file_that_is_no_dashboard_is_named(prometheus: str, tmp_path: Path, content: str) -> None:
    """The message holds the file's name."""
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(DashboardError, match=r"broken\.json"):
        run(tmp_path, tmp_path / "out", prometheus)
