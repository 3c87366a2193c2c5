"""config.yml: what cannot be used is named with its value and what is allowed."""

import copy
import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from monitoring.contract.schemas import labels_schema, log_schema, reference_schema
from tests.processes import ROOT

CONTENT = yaml.safe_load((ROOT / "monitoring/config.yml").read_text())


def _load(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Config:
    content = copy.deepcopy(CONTENT)
    change(content)
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(content))
    return load_config(path)


def _set(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = to

    return change


def _drop(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def test_the_shipped_config_is_valid() -> None:
    """The committed file loads, and says what the columns and drift tests are."""
    config = load_config(ROOT / "monitoring/config.yml")
    assert len(config.model.features) == 13
    assert config.drift_test(config.model.features[0]).test == "ks"
    assert config.drift_test(config.model.prediction).test == "chi_square_two_sample"
    assert config.tests[0].condition == {"lte": 0}


def test_retraining_is_what_it_was_where_nothing_is_said(tmp_path: Path) -> None:
    """A config from before these keys means what it meant: alerts retrain, by accuracy, and any gain is enough."""
    new = ("mode", "metric", "gate", "margin")
    config = _load(tmp_path, lambda content: [content["retrain"].pop(key) for key in new])
    assert config == _load(tmp_path, lambda _: None)
    assert (config.retrain.mode, config.retrain.metric, config.retrain.gate.test) == ("auto", "accuracy", "point")


@pytest.mark.parametrize(("rhythm", "seconds"), [("auto", None), ("none", None), ("1d", 86_400), ("7d", 604_800)])
def test_a_named_rhythm_is_a_cycle(tmp_path: Path, rhythm: str, seconds: float | None) -> None:
    """A retraining goes by it where the drift watch has found none."""
    assert _load(tmp_path, _set("rhythm", to=rhythm)).cycle_seconds == seconds


def test_another_model_is_a_change_of_the_file_alone(tmp_path: Path) -> None:
    """Four features of other names and a binary prediction make a config, and the files' columns follow it."""

    def change(content: dict[str, Any]) -> None:
        content["model"] = {
            "name": "churn", "features": ["age", "tenure", "spend", "calls"], "prediction": "predicted",
            "target": "actual", "label": "class", "categories": ["stays", "leaves"],
        }  # fmt: skip
        content["drift"] = {"default": {"test": "t_test", "threshold": 0.01}}
        content["window"] = {"duration": "30m"}

    config = _load(tmp_path, change)
    assert config.window.duration == timedelta(minutes=30)
    assert config.drift_test("predicted").threshold == 0.01
    features = ["age", "tenure", "spend", "calls"]
    first = ["prediction_id", "timestamp", *features]
    assert log_schema(config.model).names == [*first, "predicted", "confidence", "model_version", "actual"]
    assert labels_schema(config.model).names == ["prediction_id", "actual", "timestamp"]
    assert reference_schema(config.model).names == [*features, "predicted", "actual"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            _set("metrics", "feature_prefix", to="prediction"),
            "metrics = {'feature_prefix': 'prediction'}: feature_prefix 'prediction' is taken",
            id="prefix-of-another-metric",
        ),
        pytest.param(
            _set("model", "categories", to=[0.5, 1.5]),
            "model.categories.0 = 0.5: a category is text, a whole number, true or false: quote it",
            id="category-of-a-float",
        ),
        pytest.param(
            _set("model", "categories", to=["none", None]),
            "model.categories.1 = None: a category is text, a whole number, true or false: quote it",
            id="category-of-nothing",
        ),
        pytest.param(
            _set("model", "categories", to=[1, "1", True]), "these stand more than once: 1", id="category-twice"
        ),
        pytest.param(_set("model", "categories", to=["a", ""]), "model.categories.1 = ''", id="empty-category"),
        pytest.param(
            _set("model", "categories", to=["a", "b\nc"]), r"holds the control character '\n'", id="category-of-lines"
        ),
        pytest.param(
            _set("retrain", "mode", to="ask"), "retrain.mode = 'ask': Input should be 'auto' or 'notify'", id="mode"
        ),
        pytest.param(
            _set("retrain", "gate", to={"test": "sign"}),
            "retrain.gate.test = 'sign': Input should be 'point', 'bootstrap' or 'mcnemar'",
            id="gate",
        ),
        pytest.param(
            _set("retrain", to={**CONTENT["retrain"], "metric": "roc_auc", "gate": {"test": "mcnemar"}}),
            "retrain: gate.test mcnemar is of accuracies; with metric roc_auc take point or bootstrap",
            id="gate-of-another-metric",
        ),
        pytest.param(
            _set("windw", to={"rows": 5}),
            "windw = {'rows': 5}: no such key; allowed here are model, metrics, window",
            id="top-key",
        ),
        pytest.param(
            _set("model", "feature", to=[]),
            "model.feature = []: no such key; allowed here are name, task, features",
            id="key",
        ),
        pytest.param(
            _set("drift", "default", "treshold", to=0.1),
            "drift.default.treshold = 0.1: no such key; allowed here are test, threshold",
            id="deep-key",
        ),
        pytest.param(
            _set("drift", "columns", "mfcc_1", to={"test": "ks", "thrshold": 0.1}),
            "drift.columns.mfcc_1.thrshold = 0.1: no such key; allowed here are test, threshold",
            id="column-key",
        ),
        pytest.param(
            _set("drift", "columns", "model", to={"test": "ks", "thrshold": 0.1}),
            "drift.columns.model.thrshold = 0.1: no such key; allowed here are test, threshold",
            id="column-of-a-section's-name",
        ),
        pytest.param(_drop("model", "target"), "model.target: is missing", id="missing"),
        pytest.param(_drop("tests"), "tests: is missing", id="missing-section"),
        pytest.param(_set("minimum_rows", to="many"), "minimum_rows = 'many': Input should be a valid int", id="type"),
        pytest.param(_set("minimum_rows", to=0), "minimum_rows = 0: Input should be greater than 1", id="range"),
        pytest.param(_set("window", to={}), "window = {}: give either rows or duration", id="no-window"),
        pytest.param(_set("window", "duration", to="1h"), "give either rows or duration", id="two-windows"),
        pytest.param(
            _set("window", to={"duration": "1 hour"}),
            "window.duration = '1 hour': a duration is a positive whole number and a unit, like 90s, 30m, 1h or 7d",
            id="duration",
        ),
        pytest.param(_set("window", to={"duration": "0s"}), "window.duration = '0s': a duration", id="zero-duration"),
        pytest.param(
            _set("window", to={"duration": "99999999999d"}), "window.duration = '99999999999d'", id="endless-duration"
        ),
        pytest.param(
            _set("window", to={"rows": 100}), "window.rows (100) must be at least minimum_rows (200)", id="window-small"
        ),
        pytest.param(
            _set("retrain", "rows", to=300),
            "retrain.rows (300) must be at least retrain.minimum_labels (400)",
            id="retrain-never",
        ),
        pytest.param(
            _set("drift", "default", "test", to="kss"), "drift.default.test = 'kss': Input should be 'ks'", id="test"
        ),
        pytest.param(
            _set("drift", "default", "test", to="chisquare"),
            "drift.default.test is 'chisquare'; allowed there are ks, mannw",
            id="test-of-other-kind",
        ),
        pytest.param(
            _set("drift", "columns", "predicted_genre", "test", to="ks"),
            "drift.columns.predicted_genre.test is 'ks'; allowed there are chi_square_two_sample",
            id="test-of-prediction",
        ),
        pytest.param(
            _set("drift", "columns", "mfcc_14", to={"test": "ks", "threshold": 0.1}),
            "drift.columns names 'mfcc_14'; allowed are mfcc_1, mfcc_2",
            id="column",
        ),
        pytest.param(_set("drift", "default", "threshold", to=5), "drift.default.threshold = 5", id="threshold"),
        pytest.param(
            _set("tests", 0, to="TestColumnDrft"), "tests.0.name = 'TestColumnDrft': Input should be", id="suite-test"
        ),
        pytest.param(
            _set("tests", 0, to={"TestNumberOfRows": {"at_least": 5}}), "'eq', 'not_eq', 'lt'", id="condition"
        ),
        pytest.param(
            _set("tests", 0, to={"TestNumberOfRows": {"gte": "few"}}), "tests.0.condition.gte = 'few'", id="bound"
        ),
        pytest.param(
            _set("tests", to=["TestColumnsType", {"TestColumnsType": {}}]),
            "stand more than once: TestColumnsType",
            id="test-twice",
        ),
        pytest.param(
            _set("tests", to=[{"TestColumnDrift": {"lt": 3}}]), "TestColumnDrift takes no condition", id="no-condition"
        ),
        pytest.param(
            _set("model", "features", to=["a", "b", "a"]), "these stand more than once: a", id="feature-twice"
        ),
        pytest.param(_set("model", "features", to=[]), "model.features = []", id="no-features"),
        pytest.param(
            _set("model", "features", to=["a\tb"]), r"model.features.0 = 'a\tb': holds the control", id="feature-name"
        ),
        pytest.param(_set("model", "features", to=["a" * 129]), "should have at most 128", id="feature-of-a-novel"),
        pytest.param(_set("model", "features", to=["\u2028"]), "control character '\\u2028'", id="line-separator"),
        pytest.param(_set("model", "features", to=[2019]), "should be a valid string (quote it)", id="number-as-name"),
        pytest.param(_set("model", "label", to="Größe"), "model.label = 'Größe'", id="label-is-a-metric's"),
        pytest.param(_set("model", "target", to="instances"), "is taken in the API's requests", id="reserved-request"),
        pytest.param(_set("model", "target", to="file"), "target 'file' is taken", id="reserved-form-field"),
        pytest.param(_set("model", "prediction", to="mfcc_2"), "more than once: mfcc_2", id="column-clash"),
        pytest.param(_set("model", "target", to="timestamp"), "more than once: timestamp", id="reserved-column"),
        pytest.param(
            _set("model", "label", to="confidence"), "model.label = 'confidence': is taken", id="reserved-answer"
        ),
        pytest.param(_set("model", "categories", to=["one"]), "model.categories = ['one']", id="one-category"),
        pytest.param(_set("metrics", "feature_prefix", to="9x"), "metrics.feature_prefix = '9x'", id="metric-prefix"),
        pytest.param(_set("model", "audio", "sample_rate", to=-1), "model.audio.sample_rate = -1", id="audio"),
    ],
)
def test_a_typo_is_named_with_its_value_and_what_is_allowed(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    """Every kind of mistake stops the start with file, key, value and what the key takes."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, change)
    assert message in str(caught.value)
    assert str(tmp_path / "config.yml") in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e400], ids=str)
@pytest.mark.parametrize(
    "keys",
    [
        ("drift", "default", "threshold"),
        ("retrain", "holdout"),
        ("retrain", "minimum_gain"),
        ("retrain", "rows"),
        ("window", "rows"),
        ("minimum_rows",),
        ("false_alarm_every",),
        ("model", "audio", "sample_rate"),
        ("model", "audio", "options", "n_mfcc"),
        ("tests", "0", "condition", "gte"),
    ],
    ids=".".join,
)
def test_what_is_no_number_is_refused_by_its_key(tmp_path: Path, keys: tuple[str, ...], value: float) -> None:
    """No test could pass under a bound of .nan, and none fail under one of .inf."""
    entry = _set("tests", 0, to={"TestNumberOfRows": {"gte": value}})
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, entry if keys[0] == "tests" else _set(*keys, to=value))
    assert re.search(rf"  {re.escape('.'.join(keys))}\S* = {value}: ", str(caught.value))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Two mistakes give two lines."""

    def change(content: dict[str, Any]) -> None:
        content["minimum_rows"] = "many"
        content["model"]["colour"] = 1

    with pytest.raises(ConfigError, match=r"2 value\(s\) cannot be used:\n.*model\.colour.*\n.*minimum_rows"):
        _load(tmp_path, change)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "cannot be read: No such file", id="absent"),
        pytest.param(b"model: [", "is not YAML", id="not-yaml"),
        pytest.param(b"\xff\xfe\x00", "is not YAML", id="not-text"),
        pytest.param(b"", "is not a mapping; it takes the keys model, metrics", id="empty"),
        pytest.param(b"- a\n- b\n", "is not a mapping", id="list"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    """An absent, broken or empty file is an error of its own, with the path."""
    path = tmp_path / "config.yml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path)
