"""Tables and texts as HTML."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from scripts.dashboards.queries.json_paths import Json
from scripts.preview.colours import ink
from scripts.preview.columns import Column
from scripts.preview.frames import Frame
from scripts.preview.transformations import sort_rows

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def table(tables: Sequence[Sequence[Column]], options: Json) -> Markup:
    """Return the HTML of a table: the first frame's, for the others are behind a choice in Grafana too."""
    chosen = tables[min(int(options.get("frameIndex") or 0), len(tables) - 1)]
    shown = [one for one in _sorted(chosen, options) if not one.custom("hidden") and not one.custom("hideFrom.viz")]
    head = Markup("").join(Markup('<th class="{}">{}</th>').format(_align(one), one.name) for one in shown)
    lines = zip(*(one.values for one in shown), strict=True)
    rows = [Markup("").join(_cell(one, value) for one, value in zip(shown, line, strict=True)) for line in lines]
    body = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in rows)
    return Markup('<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        head, body
    )  # fmt: skip


def _sorted(columns: Sequence[Column], options: Json) -> list[Column]:
    frame = Frame([replace(one.field, legend=one.name) for one in columns])
    for by in reversed(options.get("sortBy") or []):
        frame = sort_rows(frame, by["displayName"], descending=bool(by.get("desc")))
    return [replace(one, field=field) for one, field in zip(columns, frame.fields, strict=True)]


def _align(column: Column) -> str:
    given = column.custom("align", "auto")
    return str({"left": "", "center": "c", "right": "n"}.get(given, "n" if column.field.kind == "number" else ""))


def _cell(column: Column, value: Any) -> Markup:
    kind = column.custom("cellOptions.type", "auto")
    code = column.colour(value)
    style = ""
    if kind == "color-background" and value is not None:
        style = f"background:{code};color:{ink(code)}"
    elif kind == "color-text":
        style = f"color:{code}"
    content: Markup | str = column.text(value)
    if kind == "gauge" and isinstance(value, int | float):
        bar = Markup('<i><u style="width:{}%;background:{}"></u></i>').format(f"{100 * column.share(value):.1f}", code)
        content = Markup('<span class="dial">{}<b>{}</b></span>').format(bar, content)
    return Markup('<td class="{}" style="{}">{}</td>').format(_align(column), style, content)


def text(options: Json, fill: Any) -> Markup:
    """Return the HTML of a panel of text: Markdown without HTML in it; anything else is shown as it is written."""
    content = fill(str(options.get("content", "")), style="text")
    if options.get("mode", "markdown") != "markdown":
        return Markup('<pre class="text">{}</pre>').format(content)
    rendered = re.sub(r'href="/d/([\w-]+)[^"]*"', r'href="\1.html"', _MARKDOWN.render(content))
    return Markup('<div class="text">{}</div>').format(Markup(rendered))  # noqa: S704 - markdown-it escaped its texts
