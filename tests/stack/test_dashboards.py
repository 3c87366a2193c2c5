"""Every panel of the dashboards has data once the loop has closed."""

import json

import pytest

from scripts.dashboards.feature_monitoring import CATEGORIES, GROUPS
from scripts.dashboards.model_performance import PROBABILITIES, REGRESSION, TRIAL
from tests.stack.demo_run import Demo

OF_MANY = "variable model"  # where a stack has one, nothing bears its name
OF_OTHERS = {CATEGORIES, GROUPS, PROBABILITIES, REGRESSION, TRIAL}


@pytest.mark.timeout(1200)
def test_every_panel_variable_and_annotation_has_data(demo: Demo) -> None:
    """The real Prometheus answers every expression with a number; what has none is named.

    Five sections are of other models, and have none here.
    """
    answers = json.loads(demo.looked_up.read_text())
    wrong = [
        f"{answer['dashboard']}, {answer['panel']}: {answer['expr']}"
        for answer in answers
        if answer["panel"] != OF_MANY
        and (answer["section"] in OF_OTHERS) != all(value == "NaN" for value in answer["values"])
    ]
    assert len(answers) > 50
    assert not wrong, "\n".join(wrong)
