"""The preview's parts: names, numbers, variables, places, transformations and overrides, as Grafana has them."""

import re
from typing import Any

import pytest

from scripts.dashboards.queries.json_paths import DashboardError
from scripts.dashboards.queries.sections import Panel, Place, sections_of
from scripts.dashboards.queries.time_range import TimeRange, rate_interval, read_range, seconds_of
from scripts.dashboards.queries.variables import Scope, Variable
from scripts.preview.columns import columns_of
from scripts.preview.frames import Field, Frame, legends
from scripts.preview.transformations import transform
from scripts.preview.units import write

HOUR = TimeRange(3600, 7200)
SCOPE = Scope(HOUR)
VARIABLES = SCOPE.having(Variable("one", ["a.b"])).having(Variable("all", ["a", "b"], all_value=".*"))


def frame(**columns: list[Any]) -> Frame:
    kinds = {str: "text", float: "number", int: "time"}
    return Frame([Field(name, kinds[type(values[0])], values) for name, values in columns.items()])  # type: ignore[arg-type]


def content(frames: list[Frame]) -> list[dict[str, list[Any]]]:
    return [{one.shown: list(one.values) for one in frame.fields} for frame in frames]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0483, "none", "0.0483"),
        (0.5, "percentunit", "50%"),
        (-1e-17, "percentunit", "0%"),
        (0.0048, "s", "4.80 ms"),
        (90, "s", "1.50 mins"),
        (2048, "bytes", "2 KiB"),
        (1500, "short", "1.50 K"),
        (0, "bytes", "0 B"),
        (12.345, "reqps", "12.3 req/s"),
        (2500, "cps", "2.50 K c/s"),
        (1.0, "bool_yes_no", "Yes"),
        (1.5e-20, "none", "1.5e-20"),
        (0, "dateTimeAsIso", "1970-01-01 00:00:00"),
        (None, "s", "\N{EN DASH}"),
        (float("nan"), "s", "NaN"),
        (float("inf"), "s", "∞"),
    ],
)
def test_a_number_is_written_in_its_unit(value: float | None, unit: str, text: str) -> None:
    """Scaled, with as many decimals as Grafana gives it."""
    assert write(value, unit) == text


def test_decimals_that_are_set_are_kept() -> None:
    """Also for numbers that would have been written with an exponent."""
    assert write(0.00001, "none", 4) == "0.0000"


@pytest.mark.parametrize(
    ("series", "template", "names"),
    [
        ([{"a": "x", "b": "1"}, {"a": "x", "b": "2"}], "__auto", ["1", "2"]),
        ([{"a": "x", "b": "1"}, {"a": "y", "b": "2"}], "__auto", ['{a="x", b="1"}', '{a="y", b="2"}']),
        ([{"a": "x"}], "__auto", ["x"]),
        ([{}], "__auto", ["up"]),
        ([{"a": "x"}], "{{ a }} of {{b}}", ["x of "]),
        ([{"a": "x"}], "fixed", ["fixed"]),
    ],
)
def test_series_are_named_by_template_or_by_what_differs(
    series: list[dict[str, str]], template: str, names: list[str]
) -> None:
    """The one label that differs gives its value; several are written out; without labels the query stands."""
    assert legends(series, template, "up") == names


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("rate(x[$__rate_interval])", "rate(x[60s])"),
        ("increase(x[$__range])", "increase(x[3600s])"),
        ('x{f=~"$one"}', 'x{f=~"a\\\\.b"}'),
        ('x{f=~"$all"}', 'x{f=~".*"}'),
        ("x{f=~`${one:regex}`,g=~`${all:regex}`}", "x{f=~`a\\.b`,g=~`.*`}"),
        ('label_replace(x, "a", "$1", "b", "(.+)") $unknown', 'label_replace(x, "a", "$1", "b", "(.+)") $unknown'),
    ],
)
def test_variables_are_filled_in_as_a_query_needs_them(text: str, filled: str) -> None:
    """A value becomes an expression that matches it, dots and all; what is nobody's name stays."""
    assert VARIABLES.fill(text, 15) == filled


def test_variables_are_filled_in_as_people_read_them() -> None:
    """In a title a value stands as it is."""
    assert VARIABLES.fill_text("$one of $all") == "a.b of All"


@pytest.mark.parametrize("name", ["${one}", "${one:csv}", "${nobody:regex}", "[[one]]", "$__interval", "$__from"])
def test_another_way_to_name_a_variable_is_refused(name: str) -> None:
    """It would go to Prometheus as it is written."""
    with pytest.raises(DashboardError, match=re.escape(name)):
        VARIABLES.fill(f"rate(x[{name}])", 15)


def test_time_ranges_and_steps() -> None:
    """An hour on 800 pixels is asked for at the data source's own interval, a day in larger steps."""
    assert read_range("now-1h", now=7200) == HOUR
    assert seconds_of("1h30m") == 5400
    assert HOUR.step(800) == 15
    assert TimeRange(0, 86400).step(800) == 120
    assert rate_interval(15) == 60
    with pytest.raises(DashboardError, match="yesterday"):
        read_range("yesterday")


def test_a_repeated_row_repeats_its_panels() -> None:
    """Each with its own value."""
    panels = [
        {"type": "row", "title": "Of $f", "repeat": "f", "gridPos": {"h": 1, "w": 24, "x": 0, "y": 0}},
        {"type": "stat", "title": "$f", "gridPos": {"h": 4, "w": 12, "x": 0, "y": 1}},
    ]
    sections = sections_of({"panels": panels}, SCOPE.having(Variable("f", ["a", "b"], all_value=".*")))
    assert [(one.title, [panel.title for panel in one.panels]) for one in sections] == [
        ("Of a", ["a"]), ("Of b", ["b"]),
    ]  # fmt: skip


JOINED = [frame(Time=[1, 1], f=["b", "a"], A=[2.0, 1.0]), frame(Time=[1, 1], f=["a", "c"], B=[3.0, 4.0])]
SERIES = [
    Frame([Field("Time", "time", [1, 2]), Field("Value", "number", [1.0, 3.0], {"f": "a"}, "a")]),
    Frame([Field("Time", "time", [1, 2]), Field("Value", "number", [5.0, None], {"f": "b"}, "b")]),
]
TABLE = [frame(f=["x_10", "x_2"], v=[1.0, 2.0])]
ORGANIZE = {"excludeByName": {"f": True}, "renameByName": {"v": "w"}, "indexByName": {}}


@pytest.mark.parametrize(
    ("frames", "step", "result"),
    [
        pytest.param(
            JOINED, {"id": "joinByField", "options": {"byField": "f", "mode": "outer"}},
            {"f": ["a", "b", "c"], "Time 1": [1, 1, None], "A": [1.0, 2.0, None], "Time 2": [1, None, 1],
             "B": [3.0, None, 4.0]}, id="joinByField numbers what is twice"),
        pytest.param(
            [*TABLE, frame(f=["x_2"], w=[3.0])], {"id": "joinByField", "options": {"byField": "f", "mode": "outer"}},
            {"f": ["x_2", "x_10"], "v": [2.0, 1.0], "w": [3.0, None]}, id="joinByField counts in names"),
        pytest.param(TABLE, {"id": "organize", "options": ORGANIZE}, {"w": [1.0, 2.0]}, id="organize"),
    ],
)  # fmt: skip
def test_a_transformation_does_what_grafanas_does(frames: list[Frame], step: Any, result: dict[str, list[Any]]) -> None:
    """One frame comes of it, its columns in this order."""
    (columns,) = content(transform(frames, [step]))
    assert columns == result
    assert list(columns) == list(result)


def test_an_override_changes_what_it_names_and_nothing_else() -> None:
    """By name; colours are the palette's, in the order of the columns."""
    dashed = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}}
    overrides = [{"matcher": {"id": "byName", "options": "a"}, "properties": [dashed]}]
    json = {"fieldConfig": {"defaults": {"unit": "s"}, "overrides": overrides}}
    columns = [table[-1] for table in columns_of(SERIES, Panel(json, Place(0, 0, 12, 8), SCOPE, "", ""))]
    assert [(one.name, one.text(0.5), one.custom("lineStyle.fill"), one.series_colour) for one in columns] == [
        ("a", "500 ms", "dash", "#73BF69"), ("b", "500 ms", None, "#F2CC0C"),
    ]  # fmt: skip
