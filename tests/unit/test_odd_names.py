"""Names that people have, end to end: what a config calls a column or a category is called so everywhere."""

import html
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api.model import Release, save_copy
from flows.registry.publication import complete, stage
from flows.registry.tags import model_tags
from flows.retrain_gate import RetrainGate
from flows.run_report import comparison_report, shortage_report
from flows.training.candidate import make_candidate, rebased
from flows.training.collection import collect
from flows.training.export import export_onnx
from flows.training.pipeline import train
from flows.training.sample import sample_of
from monitoring.__main__ import CANNOT_START, main
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.onnx.model import load_onnx
from monitoring.contract.reference import read_reference
from monitoring.page.page import create_app
from scripts.prometheus_tools import find_tools
from tests.unit.api_fixtures import keep_champion, running, service_of, settings
from tests.unit.models import LOANS
from tests.unit.monitor_fixtures import keep_calibration, keep_reference, log_rows, make_rows, monitor_of

FEATURES = [
    "_id", "Fläche in m²", "price.per.unit", "price", 'he said "hi"', "a\\b", "a|b", "{x}", "🚕", "--x", "X", "x",
    " y ", "features", "instances", "target", "</script>", "`tick`", "it's", "$feature", ".first", "[0]", "label",
    "100 %", ",", "0",
]  # fmt: skip
PREDICTION, TARGET = "vorhergesagte Klasse (v2.0)", 'wahr? |"x"|'
CATEGORIES = ["<=50K", " >50K", 1, True, 'a|"b"\\', "other"]
TEXTS = ["<=50K", " >50K", "1", "true", 'a|"b"\\', "other"]


def write_config(folder: Path, features: list[str] = FEATURES, **changes: Any) -> Path:
    """Write the config of a model of such names, as YAML."""
    content = LOANS.model_dump(mode="json", exclude_defaults=True)
    content["model"] |= {
        "features": features, "prediction": PREDICTION, "target": TARGET, "categories": CATEGORIES, "label": "answer",
    }  # fmt: skip
    content["drift"]["columns"] = {name: {"test": "t_test", "threshold": 0.01} for name in features[:6]}
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(content | changes, allow_unicode=True), encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def config(path: Path) -> Config:
    return load_config(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def _rows(config: Config, count: int, seed: int = 0) -> pd.DataFrame:
    """Draw rows whose first feature tells the category."""
    rows = make_rows(config, count, seed)
    rows[config.model.features[0]] += 4 * rows[TARGET].map(TEXTS.index).astype("float32")
    return rows


class _Outside(HTMLParser):
    """Gathers the text that stands in no script and no style."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.text = "", ""

    def handle_starttag(self, tag: str, _attributes: Any) -> None:
        self.inside = tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.inside in ("script", "style") else data.strip()


def _text_outside_scripts(page: str) -> str:
    parser = _Outside()
    parser.feed(page)
    return parser.text


def test_a_prediction_and_its_label_are_logged_under_their_names(data: Path, path: Path, config: Config) -> None:
    """Each form of a request reads back from the log as it was sent; labels may be bare numbers and booleans."""
    keep_champion(data, config)
    values = {name: float(place) for place, name in enumerate(FEATURES)}
    with running(settings(data, path)) as app:
        client = app.test_client()
        bodies: list[dict[str, Any]] = [
            {"features": values, TARGET: 1},
            {"instances": [{"features": values, TARGET: True}, {**values, TARGET: 1.0}, values]},
        ]
        answers = [client.post("/predict", json=body) for body in bodies]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert set(answers[0].json) == {"prediction_id", "answer", "confidence", "probabilities", "model_version"}
        assert set(answers[0].json["probabilities"]) == set(TEXTS)
        unlabelled = answers[1].json["predictions"][2]["prediction_id"]
        label = client.post("/feedback", json={"prediction_id": unlabelled, TARGET: True})
        assert label.status_code == 200
        schemas = client.get("/openapi.json").json["components"]["schemas"]
        assert list(schemas["Features"]["properties"]) == FEATURES
        assert {"1", 1, "true"} <= set(schemas["Label"]["properties"][TARGET]["enum"])
        exposed = text_string_to_metric_families(client.get("/metrics").text)
        counted = {s.labels["answer"] for f in exposed for s in f.samples if "answer" in s.labels}
        assert counted == set(TEXTS)
        service_of(app).predictions.seal()
        service_of(app).labels.seal()
    logged = read_rows(Layout(data), config.model, config.window).table
    assert [logged[name].to_pylist() for name in FEATURES] == [[value] * 4 for value in values.values()]
    assert sorted(logged[TARGET].to_pylist()) == ["1", "1", "true", "true"]
    assert set(logged[PREDICTION].to_pylist()) <= set(TEXTS)
    assert list(pd.read_parquet(data / "current.parquet").columns) == logged.column_names


@pytest.mark.parametrize(
    ("label", "status"),
    [
        *((label, 200) for label in (1, "1", 1.0, True, "true")),
        *((label, 422) for label in (False, 2, 1.5, [1], float("inf"), 10**400)),
    ],
)
def test_a_label_is_taken_as_its_text_if_that_is_a_category(
    data: Path, path: Path, config: Config, label: Any, status: int
) -> None:
    """What is no category is named in the answer."""
    keep_champion(data, config)
    with running(settings(data, path)) as app:
        answer = app.test_client().post("/predict", json={"features": {"x": 1}, TARGET: label})
    assert answer.status_code == status
    assert status == 200 or answer.json["field"] == TARGET


def test_a_label_that_stands_twice_is_found_without_quotes_too(data: Path, path: Path, config: Config) -> None:
    """The second one would win in silence, bare or not."""
    keep_champion(data, config)
    name = json.dumps(TARGET)
    bodies = [
        f'{{"features": {{"x": 1}}, {name}: 1, {name}: true}}',
        f'{{"features": {{"x": 1}}, {name}: "1", {name}: 1}}',
    ]
    with running(settings(data, path)) as app:
        client = app.test_client()
        answers = [client.post("/predict", data=body, content_type="application/json") for body in bodies]
        feedback = f'{{"prediction_id": "x", {name}: 1, {name}: true}}'
        answers.append(client.post("/feedback", data=feedback, content_type="application/json"))
    assert [(answer.status_code, answer.json["reason"]) for answer in answers] == [(422, "duplicate_key")] * 3


@pytest.mark.parametrize("engine", ["profile", "dataframe"])
def test_the_monitor_tells_everything_under_its_name(tmp_path: Path, data: Path, engine: str) -> None:
    """Metrics, page and Evidently's report hold each name as it is."""
    names = FEATURES if engine == "profile" else FEATURES[:6]
    config = load_config(write_config(tmp_path, names, engine=engine))
    keep_reference(data, config, _rows(config, 300))
    log_rows(data, config, _rows(config, 300, seed=1))
    keep_calibration(data, config)
    monitor, registry = monitor_of(data, config, drift_alarm="on")
    monitor.cycle()
    client = create_app(monitor, registry, lambda: True).test_client()
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    samples = [sample for family in families for sample in family.samples]
    for metric in ("loan_drift_p_value", "loan_ks_statistic", "outliers", "feature_distribution"):
        assert {s.labels["feature"] for s in samples if s.name == metric} == set(names), metric
    assert {s.labels["answer"] for s in samples if s.name == "prediction_distribution"} == set(TEXTS)
    tests = {s.labels["test"] for s in samples if s.name == "evidently_test_status"}
    assert {f"TestColumnDrift:{name}" for name in (*names, PREDICTION)} <= tests
    assert [s.value for s in samples if s.name == "evidently_tests" and s.labels["status"] == "error"] == [0]
    page = client.get("/")
    cells = {html.unescape(cell) for cell in re.findall(r'<td(?: class="name")?>(.*?)</td>', page.text)}
    assert set(names) <= cells
    assert "<script" not in page.text
    assert "</script" not in page.text
    report = client.get("/report").text
    assert len(_text_outside_scripts(report)) < 100  # no name ends the script that it stands in
    verdicts = json.loads(client.get("/report.json").text)["judgement"]["verdicts"]
    assert {f"TestColumnDrift:{name}" for name in names} <= {verdict["test"] for verdict in verdicts}


def test_profile_report_and_backtest_know_the_names(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each feature has its line, and Prometheus takes what a replay exported."""
    names = [
        "price.per.unit",
        'he said "hi"',
        "a\\b",
        "a|b",
        "🚕",
        "</script>",
    ]  # few: the replay calibrates its detector
    path = write_config(tmp_path, false_alarm_every=1000, features=names)
    config = load_config(path)
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    keep_reference(data, config, _rows(config, 300))
    for minute in range(4):
        log_rows(data, config, _rows(config, 60, seed=minute + 1), begin + timedelta(minutes=minute))
    against = ["--reference", str(data / "reference.parquet"), "--config", str(path)]
    log = str(data / "current.parquet")
    assert main(["profile", "--input", log, "--out", str(tmp_path / "p"), *against]) == 0
    assert (
        main(["report", "--profile", str(tmp_path / "p"), "--html", str(tmp_path / "r.html"), *against]) < CANNOT_START
    )
    told = capsys.readouterr().out
    for name in (*names, PREDICTION):
        assert f"TestColumnDrift:{name}: {name} " in told
    tools = ["--prometheus-bin", str(Path(find_tools().promtool).parent)]
    outputs = ["--json", str(tmp_path / "found.json"), "--openmetrics", str(tmp_path / "past.om"), "--every", "1m"]
    assert main(["backtest", "--log", log, *against, *tools, *outputs]) == 0
    lines = [line for line in (tmp_path / "past.om").read_text().splitlines() if line.startswith("outliers{")]
    families = list(text_string_to_metric_families("\n".join(line.rpartition(" ")[0] for line in lines) + "\n"))
    assert {s.labels["feature"] for family in families for s in family.samples} == set(names)


def test_a_retrained_model_serves_and_its_reference_holds(data: Path, path: Path, config: Config) -> None:
    """From the log to a candidate, its artifact for people, the re-based reference and the API's answer."""
    layout = Layout(data)
    keep_reference(data, config, _rows(config, 400))
    reference = read_reference(layout, config.model).table
    champion = load_onnx(
        export_onnx(train(sample_of(reference, config.model)), config.model).SerializeToString(), config.model
    )
    log_rows(data, config, _rows(config, 600, seed=1))
    collected = collect(layout, config, None)
    candidate = make_candidate(collected.table, reference, champion, config, seed=1)
    assert set(candidate.comparison.categories) == set(TEXTS)
    links = ("http://m/v", "http://m/r")
    gate = RetrainGate(candidate.comparison, candidate.standing, promised=0.5, margin=0.05, changed=True)
    told = comparison_report(gate, collected, name="n", champion="1", candidate="2", made_by="a recipe", links=links)
    rows = [line for line in told.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}  # none has a cell more
    assert r"a\|\<b\>" in shortage_report("those that have them: a|<b>", collected)
    assert json.loads(model_tags(config, TEXTS)["features"]) == FEATURES
    table, performance = rebased(collected.table, candidate, config.model)
    stage(layout, config.model, "2", table, origin="rebased", performance=performance)
    assert complete(layout, "2")
    assert read_reference(layout, config.model).table.column_names == [*FEATURES, PREDICTION, TARGET, "timestamp"]
    save_copy(data / "_model", config.model.name, Release("2", 1), candidate.trained.exported.SerializeToString())
    with running(settings(data, path)) as app:
        values = dict.fromkeys(FEATURES, 0.0)
        answers = [app.test_client().post("/predict", json={"features": {**values, "_id": 4.0 * n}}) for n in range(6)]
    right = np.mean([answer.json["answer"] == text for answer, text in zip(answers, TEXTS, strict=True)])
    assert right >= 0.5  # one in six by chance


def test_unknown_categories_add_to_one_that_is_called_other(data: Path, config: Config) -> None:
    """The share `other` holds both, so that the shares add up to one."""
    keep_reference(data, config, _rows(config, 300))
    rows = _rows(config, 300, seed=1)
    rows.loc[:99, PREDICTION] = "never seen"
    log_rows(data, config, rows)
    monitor, registry = monitor_of(data, config)
    monitor.cycle()
    shares = {
        s.labels["answer"]: s.value
        for family in registry.collect()
        for s in family.samples
        if s.name == "prediction_distribution"
    }
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["other"] == pytest.approx(1 / 3 + (rows[PREDICTION] == "other").mean())


def test_parts_hold_the_names(data: Path, config: Config) -> None:
    """A dot in a name is no step into a struct."""
    log_rows(data, config, _rows(config, 30))
    (part,) = (data / "current.parquet").iterdir()
    assert pq.read_schema(part).names[2 : 2 + len(FEATURES)] == FEATURES
