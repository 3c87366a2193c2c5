"""What Evidently's report cannot draw from profiles: where a regression's errors lie, as a section of our own."""

import html

from monitoring.snapshot.snapshot import ErrorShape

STYLE = "padding:1rem 2rem;font:14px sans-serif;color:#222;background:#fff;overflow-x:auto"
_CELL = "padding:2px 12px;text-align:{align}"
_BAR = "display:inline-block;height:9px;background:{color};width:{width:.1f}px"
_WIDTH = 160  # pixels of the largest share
_NOW, _THEN = "#2560c8", "#b4bcc9"


def error_section(shape: ErrorShape) -> str:
    """Return a section of HTML: the errors' shares by range, and the mean label of each range of the predictions."""
    known = any(one.reference for one in shape.bins)  # of a reference without labels nothing is
    most = max(0.01, *(max(one.reference, one.current or 0.0) for one in shape.bins))
    errors = [
        [_text(one.name), _share(one.current, most, _NOW), _share(one.reference if known else None, most, _THEN)]
        for one in shape.bins
    ]
    ranges = [
        [_text(one.name), f"{one.rows:,}", *map(_number, (one.predicted, one.actual, one.reference_actual))]
        for one in shape.ranges
    ]
    return (
        f'<section style="{STYLE}"><h3>Errors of the labelled rows: predictions less labels</h3>'
        + table(["range", "window", "reference"], errors, "left")
        + "<h3>Predicted against actual, by range of the prediction</h3>"
        + table(["range", "rows", "mean prediction", "mean label", "mean label in the reference"], ranges, "right")
        + "</section>"
    )


def table(head: list[str], rows: list[list[str]], align: str) -> str:
    """Return a table of HTML of cells that are HTML."""
    style = _CELL.format(align=align)
    heads = "".join(f'<th scope="col" style="{style}">{name}</th>' for name in head)
    body = "".join("<tr>" + "".join(f'<td style="{style}">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{heads}</tr>{body}</table>"


def _text(name: str) -> str:
    return html.escape(name[4:])  # without the number that sorts it


def _share(share: float | None, most: float, color: str) -> str:
    if share is None:
        return "\N{EN DASH}"
    bar = _BAR.format(color=color, width=share / most * _WIDTH)
    return f'<span style="{bar}"></span> {share:.1%}'


def _number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.4g}"
