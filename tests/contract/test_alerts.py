"""Every alert tells a person what to do, is tested, rests on documented metrics, and reaches who should hear of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.trigger.notification import ACTIONS
from monitoring.contract.config_values import parse_duration
from monitoring.contract.trial import OF_TRIAL
from scripts.prometheus_tools import Tools, find_tools
from tests.contract.promql import check_expressions, metrics_in, run
from tests.processes import ROOT

RULES = sorted((ROOT / "monitoring/alert_rules").glob("*_alerts.yml"))
RUNBOOKS = ROOT / "docs/runbooks"
ALERTMANAGER = ROOT / "alertmanager/alertmanager.yml"
DASHBOARDS = {"model-performance", "feature-monitoring", "system-health"}
NEVER_QUIET = {"Watchdog"}  # a dead man's switch has no quiet case
UNDESCRIBED = {"DataQualityIssue"}  # the mission gives it no description; messages say its value instead

GROUPS = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
ENTRIES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ENTRIES if "alert" in rule}
RECORDED = {rule["record"] for rule in ENTRIES if "record" in rule}


def unit_tests() -> list[dict[str, Any]]:
    return [test for path in RULES for test in yaml.safe_load(path.with_stem(f"{path.stem}_test").read_text())["tests"]]


@pytest.fixture(scope="module")
def tools() -> Tools:
    return find_tools()


def test_the_missions_alerts_stand_verbatim() -> None:
    """The group has the two alerts word for word as they were asked for; what stands beside their words is ours."""
    (group,) = [g for g in GROUPS if g["name"] == "model_drift_alerts"]
    ours = {"runbook_url", "dashboard_url", "threshold", "value", "resolved"}
    alerts = [
        {**rule, "annotations": {k: v for k, v in rule["annotations"].items() if k not in ours}}
        for rule in group["rules"]
    ]
    assert alerts == [
        {
            "alert": "MFCCFeatureDrift",
            "expr": "mfcc_drift_p_value < 0.05",
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {
                "summary": "MFCC feature drift detected",
                "description": "Feature {{ $labels.feature }} shows drift (p-value: {{ $value }})",
            },
        },
        {
            "alert": "DataQualityIssue",
            "expr": "missing_values > 100",
            "for": "2m",
            "labels": {"severity": "critical"},
            "annotations": {"summary": "Data quality degradation detected"},
        },
    ]


def test_alert_names_are_unique() -> None:
    """A name leads to one alert, so to one runbook."""
    assert len(ALERTS) == sum("alert" in rule for rule in ENTRIES)


@pytest.mark.parametrize("name", ALERTS)
def test_alert_tells_a_person_what_to_do(name: str) -> None:
    """Severity, summary, value and threshold, in a description but for one, what ends it, a runbook, a dashboard."""
    alert = ALERTS[name]
    notes = alert["annotations"]
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert "{{" not in notes["summary"] + notes["resolved"]
    assert ("description" in notes) != (name in UNDESCRIBED)
    told = notes["value"] if name in UNDESCRIBED else notes["description"]
    assert "threshold" in notes or "threshold" in told or name in NEVER_QUIET
    assert "$value" in told
    assert notes["runbook_url"].endswith(f"/docs/runbooks/{name}.md")
    assert (RUNBOOKS / f"{name}.md").is_file()
    assert notes["dashboard_url"].rpartition("/d/")[2] in DASHBOARDS


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_a_fires_and_a_stays_quiet_case(name: str) -> None:
    """Each case's name says what its last expectation proves."""
    cases = [
        (test["name"], bool(check["exp_alerts"]))
        for test in unit_tests()
        for check in test["alert_rule_test"]
        if check["alertname"] == name
    ]
    assert any(title.startswith(f"{name} fires when ") and fires for title, fires in cases)
    quiet = any(title.startswith(f"{name} stays quiet when ") and not fires for title, fires in cases)
    assert quiet != (name in NEVER_QUIET)


def test_every_runbook_belongs_to_an_alert() -> None:
    """A runbook whose alert has gone misleads."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(ALERTS)


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_runbook_has_its_four_parts_and_links_that_lead_somewhere(path: Path) -> None:
    """Meaning, Impact, Diagnosis, Mitigation, in this order."""
    text = path.read_text()
    assert re.findall(r"^#+ .*", text, re.MULTILINE) == [
        f"# {path.stem}", "## Meaning", "## Impact", "## Diagnosis", "## Mitigation",
    ]  # fmt: skip
    for link in re.findall(r"\]\(([^)]+\.md)\)", text):
        assert (path.parent / link).is_file(), link


@pytest.mark.parametrize("name", sorted(set(ALERTS) - NEVER_QUIET))
def test_runbook_says_within_what_time_the_alert_fires(name: str) -> None:
    """No sooner than the rule's own waiting time, a scrape and an evaluation allow."""
    found = re.search(r"^Fires within (\d+) minutes? ", (RUNBOOKS / f"{name}.md").read_text(), re.MULTILINE)
    assert found, name
    waits = parse_duration(ALERTS[name]["for"]).total_seconds() if "for" in ALERTS[name] else 0
    assert 60 * int(found[1]) >= waits + 15 + 15


def test_reliability_says_which_fault_brings_each_alert_on() -> None:
    """docs/reliability.md names every alert once, with its runbook's time."""
    text = (ROOT / "docs/reliability.md").read_text().partition("## Which alert tells")[2]
    told: dict[str, str] = {}
    for line in re.findall(r"^\| ([A-Z].*)$", text, re.MULTILINE):
        names, times = (re.split(", (?=[A-Z0-9])", cell) for cell in line.split(" | ")[:2])
        assert not told.keys() & set(names)
        told |= dict(zip(names, times if len(names) > 1 else times[-1:], strict=True))
    assert told.keys() == set(ALERTS)
    for name in told.keys() - NEVER_QUIET:
        (minutes,) = re.findall(r"^Fires within (\d+) minutes? ", (RUNBOOKS / f"{name}.md").read_text(), re.MULTILINE)
        assert re.findall(r"\d+", told[name]) == [minutes], name


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.get("alert", rule.get("record"))) for rule in ENTRIES])
def test_every_metric_in_a_rule_is_documented(rule: dict[str, Any]) -> None:
    """docs/metrics.md defines it, unless it is Prometheus' or Alertmanager's own, or recorded by a rule here."""
    documented = set(re.findall(r"`([a-zA-Z_:][\w:]*)", (ROOT / "docs/metrics.md").read_text()))
    used = {re.sub(r"_bucket$", "", name) for name in metrics_in(rule["expr"])}
    foreign = {name for name in used if name == "up" or name.startswith(("alertmanager_", "prometheus_"))}
    assert used - foreign - RECORDED <= documented
    for pattern in re.findall(r'__name__=~"([^"]+)"', rule["expr"]):
        assert any(re.fullmatch(pattern, name) for name in documented), pattern


def test_metrics_are_recognised_in_an_expression() -> None:
    """The reading of expressions that the test above rests on."""
    expression = """sum by (job) (increase(a_total{x="b_total"}[1h] offset 10m)) > 60
        unless on () max(c:d:e) >= 1e3 or absent(f) * Inf and time() - g > 0.5"""
    assert metrics_in(expression) == {"a_total", "c:d:e", "f", "g"}


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_routed_to_who_should_hear_of_it(name: str, tools: Tools) -> None:
    """By Alertmanager's own reading of its configuration: an `action` to the trigger and to people."""
    labels = {"alertname": name, **ALERTS[name]["labels"]}
    arguments = [f"{key}={value}" for key, value in labels.items()]
    printed = run(tools.amtool, "config", "routes", "test", f"--config.file={ALERTMANAGER}", *arguments)
    expected = ["people"]
    if "action" in labels:
        expected = ["trigger", "people"]
    if name == "Watchdog":
        expected = ["watchdog"]
    assert re.split(r"[\s,]+", printed.strip()) == expected


def test_alerts_ask_for_each_flow() -> None:
    """Without them the loop would not close; the trigger knows the flows that they ask for."""
    asked = {name: rule["labels"]["action"] for name, rule in ALERTS.items() if "action" in rule["labels"]}
    assert asked == {"ModelDrift": "retrain", OF_TRIAL: "retrain", "ModelTurnedBad": "rollback"}
    assert set(asked.values()) == set(ACTIONS)


def test_rule_files_are_loaded_without_their_unit_tests() -> None:
    """The folder is mounted as it is; Prometheus refuses to start on a promtool test."""
    (pattern,) = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["rule_files"]
    folder = RULES[0].parent
    assert sorted(folder.glob(Path(pattern).name)) == RULES
    assert {path.name for path in folder.glob("*.yml")} - {path.name for path in RULES} == {
        f"{path.stem}_test.yml" for path in RULES
    }


def test_committed_configurations_pass_the_tools_own_checks(tools: Tools) -> None:
    """What `make check` runs, so that a test run alone sees it too."""
    run(tools.promtool, "check", "config", "prometheus/prometheus.yml")
    run(tools.promtool, "check", "rules", *RULES)
    run(tools.promtool, "test", "rules", *(path.with_stem(f"{path.stem}_test") for path in RULES))
    run(tools.amtool, "check-config", ALERTMANAGER)


def test_every_query_in_a_runbook_is_valid(tools: Tools, tmp_path: Path) -> None:
    """Promtool takes each line of a promql block, so that what a person pastes at night works."""
    queries = [
        (path.stem, line)
        for path in sorted(RUNBOOKS.glob("*.md"))
        for block in re.findall(r"^ *```promql\n(.*?)^ *```", path.read_text(), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    assert {name for name, _ in queries} == set(ALERTS)
    check_expressions(tools, tmp_path, [query for _, query in queries])
