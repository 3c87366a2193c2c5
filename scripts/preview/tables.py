"""Tables as HTML."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from scripts.preview.columns import Column


def table(columns: Sequence[Column]) -> Markup:
    """Return the HTML of a table."""
    head = Markup("").join(Markup('<th class="{}">{}</th>').format(_align(one), one.name) for one in columns)
    lines = zip(*(one.values for one in columns), strict=True)
    rows = [Markup("").join(_cell(one, value) for one, value in zip(columns, line, strict=True)) for line in lines]
    body = Markup("").join(Markup("<tr>{}</tr>").format(row) for row in rows)
    return Markup('<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        head, body
    )  # fmt: skip


def _align(column: Column) -> str:
    return "n" if column.field.kind == "number" else ""


def _cell(column: Column, value: Any) -> Markup:
    return Markup('<td class="{}">{}</td>').format(_align(column), column.text(value))
