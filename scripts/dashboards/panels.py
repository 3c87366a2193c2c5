"""The kinds of panels that the dashboards are made of, all in one style."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import barchart, bargauge, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from scripts.dashboards.chosen_model import of_model
from scripts.dashboards.limits import Limit

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
CALM = "green"
Panel = TypeVar("Panel", bound=Any)


@dataclass(frozen=True)
class Query:
    """A PromQL expression; `__auto` names a series by the label that tells it from the others."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True)
class Display:
    """How large a panel is, and how it shows its values: width of 24, height, unit, and the range of the axis."""

    span: int = 8
    height: int = 8
    unit: str = "short"
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = None


def time_series(
    title: str,
    description: str,
    display: Display,
    *queries: Query,
    limit: Limit | None = None,
    stacked: bool = False,
    dashed: tuple[str, ...] = (),
) -> timeseries.Panel:
    """Return lines over time, with the alert's threshold as a dashed line, and so those of the legends in `dashed`."""
    line = replace(limit, below=False) if limit else None  # a line takes the color of the step that begins at it
    panel = _base(timeseries.Panel(), title, description, display, line).targets(_targets(queries, instant=False))
    panel.line_width(1).fill_opacity(60 if stacked else 0).show_points(common.VisibilityMode.NEVER)
    panel.legend(_legend()).tooltip(_tooltip())
    if stacked:
        panel.stacking(options.StackingConfig().mode(common.StackingMode.NORMAL))
    if limit:
        style = options.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        panel.thresholds_style(style)
    for legend in dashed:
        dashes = dashboard.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 6]})
        panel.override_by_name(legend, [dashes])
    return panel


def number(
    title: str, description: str, display: Display, *queries: Query, limit: Limit | None = None, named: bool = False
) -> stat.Panel:
    """Return the value now, with its recent course behind it unless it is a date; `named`, the legend in its place."""
    panel = _base(stat.Panel(), title, description, display, limit).targets(_targets(queries, instant=False))
    panel.reduce_options(_last_value()).color_mode(common.BigValueColorMode.VALUE)
    course = not named and not display.unit.startswith("dateTime")
    panel.graph_mode(common.BigValueGraphMode.AREA if course else common.BigValueGraphMode.NONE)
    return panel.text_mode(common.BigValueTextMode.NAME if named else common.BigValueTextMode.AUTO)


def rows(
    title: str, description: str, display: Display, *queries: Query, names: dict[str, str], by: str
) -> table.Panel:
    """Return a table: a row per value of the label `by`, a column per query, headed by the queries' legends."""
    panel = _base(table.Panel(), title, description, display, None)
    return _joined(panel, queries, names, by)


def bars(title: str, description: str, display: Display, *queries: Query, by: str) -> barchart.Panel:
    """Return groups of bars side by side: a group per value of the label `by`, a bar per query."""
    panel = _base(barchart.Panel(), title, description, display, None)
    panel.x_field(by).legend(_legend()).tooltip(_tooltip()).group_width(0.8).bar_width(0.95)
    return _joined(panel, queries, {}, by)


def levels(title: str, description: str, display: Display, query: Query, limit: Limit | None = None) -> bargauge.Panel:
    """Return a horizontal bar per series, now."""
    panel = _base(bargauge.Panel(), title, description, display, limit)
    panel.targets(_targets((query,), instant=True, shape=PromQueryFormat.TIME_SERIES))
    panel.orientation(common.VizOrientation.HORIZONTAL).display_mode(common.BarGaugeDisplayMode.GRADIENT)
    return panel.reduce_options(_last_value())


def heat(title: str, description: str, display: Display, query: Query) -> heatmap.Panel:
    """Return series as rows over time, their values as colors."""
    panel = _base(heatmap.Panel(), title, description, display, None).targets(_targets((query,), instant=False))
    panel.calculate(False).cell_values(heatmap.CellValues().unit(display.unit))
    return panel.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Purples").steps(64))


def _base(panel: Panel, title: str, description: str, display: Display, limit: Limit | None) -> Panel:
    panel.title(title).description(description).datasource(DATASOURCE).span(display.span).height(display.height)
    panel.unit(display.unit).thresholds(_thresholds(limit))
    if display.minimum is not None:
        panel.min(display.minimum)
    if display.maximum is not None:
        panel.max(display.maximum)
    if display.decimals is not None:
        panel.decimals(display.decimals)
    return panel


def _thresholds(limit: Limit | None) -> builders.ThresholdsConfig:
    steps: list[tuple[float | None, str]] = [(None, CALM)]
    if limit:
        colors = (limit.color, CALM) if limit.below else (CALM, limit.color)
        steps = list(zip((None, limit.value), colors, strict=True))
    config = builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE)
    return config.steps([dashboard.Threshold(value=value, color=color) for value, color in steps])


def _targets(
    queries: tuple[Query, ...], *, instant: bool, shape: PromQueryFormat = PromQueryFormat.TABLE
) -> list[Builder[Dataquery]]:
    """Ask for values now, in a shape, or for their course."""
    targets: list[Builder[Dataquery]] = []
    for index, query in enumerate(queries):
        target = prometheus.Dataquery().ref_id(_ref_id(index)).expr(of_model(query.expr)).datasource(DATASOURCE)
        targets.append(target.instant().format(shape) if instant else target.range().legend_format(query.legend))
    return targets


def _ref_id(index: int) -> str:
    return chr(ord("A") + index)


def _joined(panel: Panel, queries: tuple[Query, ...], names: dict[str, str], by: str) -> Panel:
    """Ask the queries as tables, join them on a label, leave the times out, and name the columns of values."""
    panel.targets(_targets(queries, instant=True))
    single = len(queries) == 1
    values = {"Value" if single else f"Value #{_ref_id(i)}": query.legend for i, query in enumerate(queries)}
    times = dict.fromkeys(("Time", *(f"Time {i + 1}" for i in range(len(queries)))), True)
    if not single:
        join = {"byField": by, "mode": "outer"}
        panel.with_transformation(dashboard.DataTransformerConfig(id_val="joinByField", options=join))
    organize = {"excludeByName": times, "renameByName": {**values, **names}, "indexByName": {}}
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=organize))
    return panel


def _last_value() -> options.ReduceDataOptions:
    return options.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _legend() -> options.VizLegendOptions:
    return (
        options.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )


def _tooltip() -> options.VizTooltipOptions:
    return options.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
