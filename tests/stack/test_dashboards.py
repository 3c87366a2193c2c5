"""Every panel of the dashboards has data once the loop has closed."""

import json

import pytest

from tests.stack.demo_run import Demo


@pytest.mark.timeout(1200)
def test_every_panel_variable_and_annotation_has_data(demo: Demo) -> None:
    """The real Prometheus answers every expression with a number; what has none is named."""
    answers = json.loads(demo.looked_up.read_text())
    empty = [
        f"{answer['dashboard']}, {answer['panel']}: {answer['expr']}"
        for answer in answers
        if all(value == "NaN" for value in answer["values"])
    ]
    assert len(answers) > 50
    assert not empty, "\n".join(empty)
