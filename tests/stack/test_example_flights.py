"""`make demo EXAMPLE=…`: models of mixed features, a regression and two categories, through the whole loop."""

import json
import re
import sys
from pathlib import Path

import pytest

from scripts.dashboards.feature_monitoring import CATEGORIES, GROUPS
from scripts.dashboards.model_performance import REGRESSION
from tests.processes import free_ports
from tests.stack.demo_run import HOPS, SERVICES, run_demo

# what a regression has none of, categories and their probabilities, what categorical features have none of, and a
# group that explains what differs once nothing does, a challenger on trial, and names of many models
OTHERS = re.compile(
    r"segment_explains|rollout_|label_values\(monitor_last_success|model_accuracy|model_f1|model_roc_auc|model_log_loss|confidence|accuracy_|api_predictions"
    r"|ks_statistic.*`(carrier|origin|dest)`"
)


@pytest.mark.timeout(1200)
def test_real_flights_close_the_loop(tmp_path: Path) -> None:
    """Every hop is seen, the candidate's errors are smaller, and the sections for its kinds and task have data."""
    answers = tmp_path.with_name("flights.json")
    then = f"{sys.executable} -m tests.stack.ask_panels {answers}"
    finished = run_demo(tmp_path, free_ports(len(SERVICES)), "--example", "flights", "--then", then)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for hop in HOPS:
        assert re.search(rf" s  {hop} ", finished.stdout), hop
    assert "refused or failed 0" in finished.stdout
    old, new = map(float, re.findall(r"version \d+ ([0-9.]+)", finished.stdout.partition("mae on held-out")[2]))
    assert new < old / 2
    found = json.loads(answers.read_text())
    assert {CATEGORIES, GROUPS, REGRESSION} <= {one["section"] for one in found if one["values"]}
    empty = [one for one in found if not one["values"] and not OTHERS.search(one["expr"])]
    assert not [(one["panel"], one["expr"]) for one in empty]


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("example", ["flights_late", "car_loans"])
def test_two_categories_close_the_loop(tmp_path: Path, example: str) -> None:
    """Every hop is seen, and the candidate is better."""
    finished = run_demo(tmp_path, free_ports(len(SERVICES)), "--example", example)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for hop in HOPS:
        assert re.search(rf" s  {hop} ", finished.stdout), hop
    assert "refused or failed 0" in finished.stdout
    old, new = map(float, re.findall(r"version \d+ ([0-9.]+)", finished.stdout.partition("on held-out")[2]))
    assert new > old
