"""Names that are written to break out of where they are shown: metrics, pages, log lines and paths keep them."""

import html
import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import structlog
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from monitoring.contract.logs import start_logging
from monitoring.page.page import create_app
from tests.unit.api_fixtures import keep_champion, running, settings
from tests.unit.models import GENRES as BUILT_IN
from tests.unit.models import loans
from tests.unit.monitor_fixtures import keep_reference, log_rows, make_rows, monitor_of

NASTY = (
    "<script>alert(1)</script>",
    'say "hi"',
    "back\\slash\\n",
    'x"} 1 up{job="api"',
    "{}",
    "../../etc/passwd",
    "{{ 7 * 7 }}${jndi:ldap://x}%s",
    "ünï\u202ecödé",
    " ",
)


def hostile(config: Config) -> Config:
    """Return the config with those categories."""
    content = config.model_dump(mode="json", exclude_defaults=True)
    content["model"]["categories"] = list(NASTY)
    return Config.model_validate(content)


def exposed(text: str, label: str) -> list[dict[str, str]]:
    """Parse an exposition as Prometheus does; return the labels of the series that have this one."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return [sample.labels for sample in samples if label in sample.labels]


def test_a_category_is_one_label_value_of_the_monitor(tmp_path: Path) -> None:
    """Each comes out of the exposition as it was put in, and no series is there that nobody exports."""
    config = hostile(loans())
    keep_reference(tmp_path, config, make_rows(config, 300))
    log_rows(tmp_path, config, make_rows(config, 300, seed=1))
    monitor, registry = monitor_of(tmp_path, config)
    monitor.cycle()
    client = create_app(monitor, registry, lambda: True).test_client()
    text = client.get("/metrics").text
    assert {labels["answer"] for labels in exposed(text, "answer")} == set(NASTY)
    assert not [line for line in text.splitlines() if line.startswith("up")]
    page = client.get("/").text
    assert "<script" not in page
    assert html.escape(NASTY[0]) in page
    for path in ("/report", "/reports"):
        assert "<script>alert(1)" not in client.get(path).text
    assert r"\u003cscript>alert(1)\u003c/script>" in client.get("/report").text
    assert all(path.resolve().is_relative_to(tmp_path) for path in tmp_path.rglob("*"))


def test_a_category_is_one_label_value_of_the_api(tmp_path: Path) -> None:
    """Metrics, answers, the description and refusals hold it as text; a refused label is no new series."""
    config = hostile(BUILT_IN)
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True)))
    assert load_config(path).model.categories == NASTY
    keep_champion(tmp_path, config)
    with running(settings(tmp_path, path)) as app:
        client = app.test_client()
        for category in NASTY:
            row = {"features": {"mfcc_1": 1.0}, "actual_genre": category}
            assert client.post("/predict", json=row).json["genre"] in NASTY
        refused = client.post("/predict", json={**row, "actual_genre": 'x"} 1\n<script>'})
        client.open('/x"}\n<script>', method="X{}")
        text = client.get("/metrics").text
        assert client.get("/openapi.json").json["components"]["schemas"]["Prediction"]["properties"]["genre"]["enum"]
    assert (refused.status_code, refused.mimetype) == (422, "application/problem+json")
    assert {labels["genre"] for labels in exposed(text, "genre")} == set(NASTY)
    assert {labels["method"] for labels in exposed(text, "method")} <= {"GET", "POST", "other"}


def test_a_log_line_is_one_line_of_json() -> None:
    """Whatever a field holds, also in an error's text."""
    out = StringIO()
    with redirect_stdout(out):
        start_logging("test")
        try:
            int("two\nlines")
        except ValueError:
            structlog.get_logger("x").exception("it_failed", names=NASTY, **{"a\nb": 1})
    structlog.reset_defaults()
    (line,) = out.getvalue().splitlines(keepends=True)
    assert json.loads(line)["names"] == list(NASTY)


@pytest.mark.parametrize("name", [pytest.param(name, id=f"name {place}") for place, name in enumerate(NASTY)])
@pytest.mark.parametrize("key", ["name", "label", "feature_prefix"])
def test_names_that_become_metrics_and_paths_are_plain_words(tmp_path: Path, key: str, name: str) -> None:
    """The config is refused: columns and categories alone are free text."""
    content = BUILT_IN.model_dump(mode="json", exclude_defaults=True)
    section = content["metrics" if key == "feature_prefix" else "model"]
    section[key] = name
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=re.escape(f"model.{key}" if key != "feature_prefix" else "metrics.")):
        load_config(path)


@pytest.mark.parametrize("end", ["\n", "\r", "\0", "\u00e9"])
def test_a_name_ends_where_it_seems_to_end(end: str) -> None:
    """No line break hides behind a name's last letter."""
    content = BUILT_IN.model_dump(mode="json", exclude_defaults=True)
    for key in ("name", "label"):
        with pytest.raises(ValueError, match="pattern"):
            Config.model_validate({**content, "model": {**content["model"], key: f"genre{end}"}})
