"""What the preview draws: for each kind of panel the settings that it knows; with any other a panel is refused."""

from collections.abc import Mapping

from scripts.dashboards.queries.json_paths import DashboardError, Json, KnownSettings, require_known
from scripts.dashboards.queries.targets import COURSE, NOW, TARGETS
from scripts.preview.units import UNITS

_COMMON: KnownSettings = {
    **TARGETS,
    **dict.fromkeys(("type", "id", "title", "description", "gridPos.*", "datasource.*", "fieldConfig.defaults.min",
                     "fieldConfig.defaults.max", "fieldConfig.defaults.decimals")),
    "transformations.id": None,  # one that is unknown is refused where it would be made
    "transparent": (False,),
    "repeatDirection": ("h",),
    "fieldConfig.defaults.unit": UNITS,
    "fieldConfig.defaults.thresholds.mode": ("absolute",),
    "fieldConfig.defaults.thresholds.steps.value": None,
    "fieldConfig.defaults.thresholds.steps.color": None,
}  # fmt: skip
_LEGEND: KnownSettings = {
    "options.legend.showLegend": (True,), "options.legend.displayMode": ("list",),
    "options.legend.placement": ("bottom",), "options.tooltip.*": None,
}  # fmt: skip
_LAST_VALUE: KnownSettings = {"options.reduceOptions.calcs": ("lastNotNull",), "options.reduceOptions.values": (False,)}
_TABLE: KnownSettings = {
    **NOW, "targets.format": ("table",),
    "transformations.options.byField": None, "transformations.options.mode": ("outer",),
    "transformations.options.excludeByName.*": None, "transformations.options.renameByName.*": None,
}  # fmt: skip

PANELS: Mapping[str, KnownSettings] = {
    "timeseries": {
        **_COMMON, **COURSE, **_LEGEND,
        **dict.fromkeys(f"fieldConfig.defaults.custom.{name}" for name in ("fillOpacity", "lineWidth")),
        "fieldConfig.defaults.custom.showPoints": ("never",),
        "fieldConfig.defaults.custom.stacking.mode": ("normal",),
        "fieldConfig.defaults.custom.thresholdsStyle.mode": ("dashed",),
        "fieldConfig.overrides.matcher.id": ("byName",), "fieldConfig.overrides.matcher.options": None,
        "fieldConfig.overrides.properties.id": ("custom.lineStyle",),
        "fieldConfig.overrides.properties.value.fill": ("dash",),
        "fieldConfig.overrides.properties.value.dash": None,
    },
    "stat": {
        **_COMMON, **COURSE, **_LAST_VALUE,
        "options.colorMode": ("value",), "options.graphMode": ("area", "none"), "options.textMode": ("auto", "name"),
        "options.orientation": ("auto",), "options.justifyMode": ("auto",), "options.wideLayout": (True,),
        "options.showPercentChange": (False,), "options.percentChangeColorMode": None,
    },
    "bargauge": {
        **_COMMON, **NOW, **_LAST_VALUE, "targets.format": ("time_series",),
        "options.displayMode": ("gradient",), "options.orientation": ("horizontal",), "options.valueMode": ("color",),
        "options.legend.showLegend": (False,), "options.legend.displayMode": None, "options.legend.placement": None,
        "options.namePlacement": ("auto",), "options.showUnfilled": (True,), "options.sizing": ("auto",),
        **dict.fromkeys(("options.minVizWidth", "options.minVizHeight", "options.maxVizHeight")),
    },
    "table": {
        **_COMMON, **_TABLE,
        "fieldConfig.defaults.custom.align": ("auto",), "fieldConfig.defaults.custom.inspect": (False,),
        "options.frameIndex": (0,), "options.showHeader": (True,), "options.showTypeIcons": (False,),
        "options.footer.show": (False,), "options.footer.countRows": (False,), "options.cellHeight": None,
    },
    "barchart": {
        **_COMMON, **_TABLE, **_LEGEND,
        "fieldConfig.defaults.custom.fillOpacity": None, "fieldConfig.defaults.custom.lineWidth": None,
        "fieldConfig.defaults.custom.gradientMode": ("none",),
        "options.xField": None, "options.groupWidth": None, "options.barWidth": None, "options.barRadius": (0,),
        "options.orientation": ("auto",), "options.stacking": ("none",), "options.showValue": ("auto",),
        "options.fullHighlight": (False,), "options.xTickLabelRotation": (0,), "options.xTickLabelMaxLength": (0,),
        "options.xTickLabelSpacing": (0,),
    },
    "heatmap": {
        **_COMMON, **COURSE,
        "options.calculate": (False,), "options.cellValues.unit": UNITS, "options.filterValues.le": None,
        "options.color.mode": ("scheme",), "options.color.scheme": ("Purples",), "options.color.reverse": (False,),
        "options.legend.show": (True,), "options.showValue": ("auto",),
        **dict.fromkeys((
            "options.cellGap", "options.color.exponent", "options.color.fill", "options.color.steps",
            "options.exemplars.color", "options.selectionMode", "options.tooltip.*",
        )),
    },
}  # fmt: skip


def require_supported(panel: Json) -> None:
    """Raise DashboardError that names the panel's kind, or those of its settings, that the preview does not draw."""
    if panel["type"] not in PANELS:
        raise DashboardError(f"The preview draws no panels of type {panel['type']}.")
    require_known(panel, PANELS[panel["type"]], panel["type"])
