"""Grafana's named colours and its palette, in its dark theme."""

from scripts.dashboards.queries.json_paths import DashboardError

_NAMED = {"red": "#F2495C", "orange": "#FF9830", "green": "#73BF69", "blue": "#5794F2"}
PANEL, TEXT = "#181B1F", "#CCCCDC"
PALETTE = (
    "#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0", "#37872D", "#FADE2A",
    "#447EBC", "#C15C17", "#890F02", "#0A437C", "#6D1F62", "#584477", "#B7DBAB", "#F4D598", "#70DBED",
)  # fmt: skip


def colour(name: str) -> str:
    """Return the CSS colour of a name of Grafana's; raise DashboardError for one that is not known."""
    if name not in _NAMED:
        raise DashboardError(f"the preview knows no colour {name}")
    return _NAMED[name]


def _channels(code: str) -> tuple[int, int, int]:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def faded(code: str, opacity: float) -> str:
    """Return a hexadecimal colour with an opacity."""
    return f"rgba({','.join(map(str, _channels(code)))},{opacity:g})"


def blend(first: str, last: str, share: float) -> str:
    """Return the colour at a share (0 to 1) of the way between two."""
    pairs = zip(_channels(first), _channels(last), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)
