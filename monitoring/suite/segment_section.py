"""Where a change is, as a section of our own beneath Evidently's report: groups are none of its concerns."""

import html

from monitoring.snapshot.segments import Group, Segments
from monitoring.suite.error_section import STYLE, table

_SHOWN = 50  # groups
_HEAD = ["segment", "group", "rows", "in the reference", "performance", "in the reference", "columns that differ"]


def segment_section(segments: Segments) -> str:
    """Return a section of HTML: what is said of the groups, and the worst of them."""
    said = "".join(f"<p>{html.escape(line)}</p>" for line in segments.said)
    rows = [list(map(html.escape, _cells(group))) for group in segments.groups[:_SHOWN]]
    more = len(segments.groups) - len(rows)
    rest = f"<p>{more} more groups are in the report's JSON.</p>" if more else ""
    return f'<section style="{STYLE}"><h3>Where is it worst?</h3>{said}{table(_HEAD, rows, "left")}{rest}</section>'


def _cells(group: Group) -> list[str]:
    columns = "too few rows" if group.drifted is None else ", ".join(one.said for one in group.drifted) or "none"
    scores = ("" if one is None else f"{one:.3g}" for one in (group.performance, group.reference_performance))
    return [group.segment, group.name, f"{group.rows:,}", f"{group.reference_rows:,}", *scores, columns]
