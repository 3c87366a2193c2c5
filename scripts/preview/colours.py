"""Grafana's named colours and schemes, in its dark theme."""

import re
from collections.abc import Sequence

# hue -> (dark, semi-dark, plain, light, super-light)
_HUES = {
    "red": ("#C4162A", "#E02F44", "#F2495C", "#FF7383", "#FFA6B0"),
    "orange": ("#FA6400", "#FF780A", "#FF9830", "#FFB357", "#FFCB7D"),
    "yellow": ("#E0B400", "#F2CC0C", "#FADE2A", "#FFEE52", "#FFF899"),
    "green": ("#37872D", "#56A64B", "#73BF69", "#96D98D", "#C8F2C2"),
    "blue": ("#1F60C4", "#3274D9", "#5794F2", "#8AB8FF", "#C0D8FF"),
    "purple": ("#8F3BB8", "#A352CC", "#B877D9", "#CA95E5", "#DEB6F2"),
}
PANEL = "#181B1F"
_SHADES = ("dark-", "semi-dark-", "", "light-", "super-light-")
NAMED = {shade + hue: code for hue, codes in _HUES.items() for shade, code in zip(_SHADES, codes, strict=True)} | {
    "text": "#CCCCDC", "transparent": "rgba(0,0,0,0)", "gray": "#808080", "grey": "#808080", "white": "#FFFFFF",
}  # fmt: skip
PALETTE = (
    "#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0", "#37872D", "#FADE2A",
    "#447EBC", "#C15C17", "#890F02", "#0A437C", "#6D1F62", "#584477", "#B7DBAB", "#F4D598", "#70DBED",
)  # fmt: skip
_CONTINUOUS = {
    "GrYlRd": ("green", "yellow", "red"), "RdYlGr": ("red", "yellow", "green"), "BlYlRd": ("blue", "yellow", "red"),
    "YlRd": ("super-light-yellow", "dark-red"), "BlPu": ("blue", "purple"), "YlBl": ("yellow", "blue"),
}  # fmt: skip


def colour(name: str) -> str:
    """Return a CSS colour for a name of Grafana's; what is no name stays, if it can only be a colour."""
    if name in NAMED:
        return NAMED[name]
    plain = name.replace("(", "").replace(")", "").replace(",", "").replace(".", "").replace(" ", "")
    return name if name.startswith(("#", "rgb", "hsl")) and plain.lstrip("#").isalnum() else NAMED["text"]


def _channels(code: str) -> tuple[int, int, int]:
    if written := re.match(r"rgba?\((\d+), ?(\d+), ?(\d+)", code):
        return int(written[1]), int(written[2]), int(written[3])
    digits = code.lstrip("#")
    if len(digits) != len("rrggbb"):
        return _channels(NAMED["text"])
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def luma(code: str) -> float:
    """Return how bright a colour is, 0 to 255 (ITU-R BT.601)."""
    red, green, blue = _channels(code)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def faded(code: str, opacity: float) -> str:
    """Return a colour with an opacity; one that is not hexadecimal as it is."""
    return f"rgba({','.join(map(str, _channels(code)))},{opacity:g})" if code.startswith("#") else code


def blend(codes: Sequence[str], share: float) -> str:
    """Return the colour at a share (0 to 1) of the way along the codes."""
    place = min(max(share, 0.0), 1.0) * (len(codes) - 1)
    first = min(int(place), len(codes) - 2)
    pairs = zip(_channels(codes[first]), _channels(codes[first + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - first)):02X}" for a, b in pairs)


def continuous(mode: str, share: float) -> str:
    """Return the colour of a `continuous-…` mode at a share of the range."""
    scheme = mode.removeprefix("continuous-")
    hue = scheme.removesuffix("s")  # the schemes of one hue are named by its plural
    names = (PANEL, f"dark-{hue}") if hue in _HUES else _CONTINUOUS.get(scheme, _CONTINUOUS["GrYlRd"])
    return blend([colour(name) for name in names], share)


def ink(background: str) -> str:
    """Return black or white, whichever can be read on a background."""
    if not background.startswith("#"):
        return NAMED["text"]
    return "#111217" if luma(background) > 150 else "#FFFFFF"  # noqa: PLR2004 - a little above the middle
