"""A folder's parts, as their names tell."""

from monitoring.contract.layout import Layout
from monitoring.contract.parts import list_parts
from tests.unit.contract_fixtures import T0, log_table, write_table


def test_parts_are_listed_newest_first(layout: Layout) -> None:
    """The list follows the last row's time, and the name tells range and count."""
    for first, last in ((T0, T0 + 9), (T0 + 1, T0 + 5), (T0 + 7, T0 + 8)):
        write_table(layout.current, log_table([first, last]))
    parts, _ = list_parts(layout.current)
    assert [(p.first - T0, p.last - T0, p.rows) for p in parts] == [(0, 9, 2), (7, 8, 2), (1, 5, 2)]
