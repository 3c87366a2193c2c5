"""The preview's parts: names, numbers, variables, places, transformations and overrides, as Grafana has them."""

from typing import Any

import pytest

from scripts.dashboards.queries.json_paths import DashboardError
from scripts.dashboards.queries.sections import Panel, Place, sections_of
from scripts.dashboards.queries.time_range import TimeRange, rate_interval, read_range, seconds_of
from scripts.dashboards.queries.variables import Scope, Variable
from scripts.preview.columns import columns_of, mapping_of
from scripts.preview.frames import Field, Frame, legends
from scripts.preview.transformations import transform
from scripts.preview.units import write

HOUR = TimeRange(3600, 7200)
SCOPE = Scope(HOUR)


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
        (0.0048, "s", "4.80 ms"),
        (90, "s", "1.50 mins"),
        (2048, "bytes", "2 KiB"),
        (1500, "short", "1.50 K"),
        (0, "bytes", "0 B"),
        (12.345, "reqps", "12.3 req/s"),
        (1.5e-20, "none", "1.5e-20"),
        (3, "suffix: rows", "3 rows"),
        (3, "furlongs", "3 furlongs"),
        (0, "dateTimeAsIso", "1970-01-01 00:00:00"),
        (7_140_000, "dateTimeFromNow", "1 minute ago"),
        (None, "s", "\N{EN DASH}"),
        (float("nan"), "s", "NaN"),
        (float("inf"), "s", "∞"),
    ],
)
def test_a_number_is_written_in_its_unit(value: float | None, unit: str, text: str) -> None:
    """Scaled, with as many decimals as Grafana gives it."""
    assert write(value, unit, now=7200) == text


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
        ("increase(x[${__range}]) $__interval_ms", "increase(x[3600s]) 15000"),
        ('x{f=~"$few"}', 'x{f=~"(a\\\\.b|c)"}'),
        ("${few:csv} [[few:pipe]]", "a.b,c a.b|c"),
        ('x{f=~"$all"}', 'x{f=~".*"}'),
        ('label_replace(x, "a", "$1", "b", "(.+)") $unknown', 'label_replace(x, "a", "$1", "b", "(.+)") $unknown'),
    ],
)
def test_variables_are_filled_in_as_a_query_needs_them(text: str, filled: str) -> None:
    """Several values become an expression that matches any, dots and all; what is nobody's name stays."""
    scope = SCOPE.having(Variable("few", ["a.b", "c"], several=True)).having(
        Variable("all", ["a", "b"], several=True, all_value=".*")
    )
    assert scope.fill(text, 15) == filled


def test_time_ranges_and_steps() -> None:
    """An hour on 800 pixels is asked for at the data source's own interval, a day in larger steps."""
    assert read_range("now-1h", now=7200) == HOUR
    assert seconds_of("1h30m") == 5400
    assert HOUR.step(800) == 15
    assert TimeRange(0, 86400).step(800) == 120
    assert rate_interval(15) == 60
    with pytest.raises(DashboardError, match="yesterday"):
        read_range("yesterday")


def test_what_stands_below_a_repeated_panel_moves_down() -> None:
    """Three values, two a line: two lines, and the panel after them below."""
    place = {"h": 4, "w": 12, "x": 0}
    panels = [
        {"type": "stat", "title": "$f", "repeat": "f", "maxPerRow": 2, "gridPos": {**place, "y": 0}},
        {"type": "stat", "title": "after", "gridPos": {**place, "y": 4}},
    ]
    scope = SCOPE.having(Variable("f", ["a", "b", "c"], several=True))
    (section,) = sections_of({"panels": panels}, scope)
    places = {panel.title: (panel.place.x, panel.place.y) for panel in section.panels}
    assert places == {"a": (0, 0), "b": (12, 0), "c": (0, 4), "after": (0, 8)}


def test_a_repeated_row_repeats_its_panels() -> None:
    """Each with its own value."""
    panels = [
        {"type": "row", "title": "Of $f", "repeat": "f", "gridPos": {"h": 1, "w": 24, "x": 0, "y": 0}},
        {"type": "stat", "title": "$f", "gridPos": {"h": 4, "w": 12, "x": 0, "y": 1}},
    ]
    sections = sections_of({"panels": panels}, SCOPE.having(Variable("f", ["a", "b"], several=True)))
    assert [(one.title, [panel.title for panel in one.panels]) for one in sections] == [
        ("Of a", ["a"]), ("Of b", ["b"]),
    ]  # fmt: skip


JOINED = [frame(Time=[1, 1], f=["b", "a"], A=[2.0, 1.0]), frame(Time=[1, 1], f=["a", "c"], B=[3.0, 4.0])]
SERIES = [
    Frame([Field("Time", "time", [1, 2]), Field("Value", "number", [1.0, 3.0], {"f": "a"}, "a")]),
    Frame([Field("Time", "time", [1, 2]), Field("Value", "number", [5.0, None], {"f": "b"}, "b")]),
]
TABLE = [frame(f=["x_10", "x_2"], v=[1.0, 2.0])]


@pytest.mark.parametrize(
    ("frames", "step", "result"),
    [
        pytest.param(
            JOINED, {"id": "joinByField", "options": {"byField": "f", "mode": "outer"}},
            {"f": ["a", "b", "c"], "Time 1": [1, 1, None], "A": [1.0, 2.0, None], "Time 2": [1, None, 1],
             "B": [3.0, None, 4.0]}, id="joinByField numbers what is twice"),
        pytest.param(
            JOINED, {"id": "joinByField", "options": {"byField": "f", "mode": "inner"}},
            {"f": ["a"], "Time 1": [1], "A": [1.0], "Time 2": [1], "B": [3.0]}, id="joinByField inner"),
        pytest.param(
            JOINED, {"id": "merge", "options": {}},
            {"Time": [1, 1, 1], "f": ["b", "a", "c"], "A": [2.0, 1.0, None], "B": [None, 3.0, 4.0]}, id="merge"),
        pytest.param(
            TABLE, {"id": "organize", "options": {"indexByName": {"v": 0, "f": 1}, "renameByName": {"v": "w"}}},
            {"w": [1.0, 2.0], "f": ["x_10", "x_2"]}, id="organize"),
        pytest.param(
            SERIES, {"id": "labelsToFields", "options": {"valueLabel": "f"}},
            {"Time": [1, 2], "a": [1.0, 3.0], "b": [5.0, None]}, id="labelsToFields"),
        pytest.param(
            SERIES, {"id": "reduce", "options": {"reducers": ["lastNotNull", "max"]}},
            {"Field": ["a", "b"], "Last *": [3.0, 5.0], "Max": [3.0, 5.0]}, id="reduce"),
        pytest.param(
            TABLE, {"id": "sortBy", "options": {"sort": [{"field": "f"}]}},
            {"f": ["x_2", "x_10"], "v": [2.0, 1.0]}, id="sortBy counts in names"),
        pytest.param(
            TABLE, {"id": "filterFieldsByName", "options": {"include": {"names": ["v"]}}},
            {"v": [1.0, 2.0]}, id="filterFieldsByName"),
    ],
)  # fmt: skip
def test_a_transformation_does_what_grafanas_does(frames: list[Frame], step: Any, result: dict[str, list[Any]]) -> None:
    """One frame comes of it, its columns in this order."""
    (columns,) = content(transform(frames, [step]))
    assert columns == result
    assert list(columns) == list(result)


def test_overrides_change_what_they_match_and_nothing_else() -> None:
    """By name, by expression, by query; the later wins."""
    overrides = [
        {"matcher": {"id": "byName", "options": "a"}, "properties": [{"id": "unit", "value": "percentunit"}]},
        {"matcher": {"id": "byRegexp", "options": "/^[ab]$/"}, "properties": [{"id": "decimals", "value": 2}]},
        {"matcher": {"id": "byFrameRefID", "options": "A"}, "properties": [
            {"id": "displayName", "value": "of ${__field.labels.f}"},
            {"id": "color", "value": {"mode": "fixed", "fixedColor": "purple"}}]},
    ]  # fmt: skip
    json = {"fieldConfig": {"defaults": {"unit": "s"}, "overrides": overrides}}
    frames = [*SERIES[:1], Frame(SERIES[1].fields, "B")]
    columns = [table[-1] for table in columns_of(frames, Panel(json, Place(0, 0, 12, 8), SCOPE))]
    assert [(one.name, one.text(0.5), one.series_colour()) for one in columns] == [
        ("of a", "50.00%", "#B877D9"), ("b", "500.00 ms", "#F2CC0C"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "one"), (15.0, "some"), ("ERROR", "bad"), (None, "nothing"), (0.5, None)]
)
def test_the_first_mapping_that_fits_counts(value: Any, text: str | None) -> None:
    """By value, range, expression, or for what is not there."""
    mappings = [
        {"type": "value", "options": {"1": {"text": "one"}}},
        {"type": "range", "options": {"from": 10, "to": None, "result": {"text": "some"}}},
        {"type": "regex", "options": {"pattern": "ERR.*", "result": {"text": "bad"}}},
        {"type": "special", "options": {"match": "null", "result": {"text": "nothing"}}},
    ]
    found = mapping_of(mappings, value)
    assert (found["text"] if found else None) == text
