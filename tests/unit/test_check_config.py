"""`python -m monitoring check-config`: the config is sound, and what the drift alarm can promise with the reference."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from monitoring.__main__ import main
from monitoring.contract.errors import ConfigError
from monitoring.contract.exit_status import CANNOT
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference
from monitoring.contract.rhythm_rows import RhythmRows, write_rhythm_rows
from monitoring.settings import MonitorSettings
from tests.processes import ROOT
from tests.unit.models import GENRES, LOANS
from tests.unit.monitor_fixtures import keep_reference, keep_timed_reference, make_rows

CONFIG = ROOT / "monitoring/config.yml"
SOUND = f"{CONFIG}: 13 features, 10 categories, no error\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path


def _check(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["check-config", "--config", str(CONFIG), *arguments]) == 0
    return capsys.readouterr().out


def test_a_sound_config_is_called_sound(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it read; there may be no reference yet."""
    absent = f"{folder / 'reference.parquet'}: not there yet, so what the drift alarm can promise is not known\n"
    assert _check(capsys) == SOUND + absent


@pytest.mark.parametrize(
    ("trainer", "says"),
    [
        pytest.param({"trainer": "trainign.cards:train"}, "there is no package trainign here", id="package"),
        pytest.param({"command": ["Rscriptt", "train.R"]}, "there is no program Rscriptt here", id="program"),
        pytest.param({"trainer": "json.tool:main"}, None, id="a package that is there"),
    ],
)
def test_a_trainer_that_is_not_here_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], trainer: dict[str, Any], says: str | None
) -> None:
    """It may be where the flows run, so that it is no error; else the first drift would tell."""
    content = yaml.safe_load(CONFIG.read_text())
    content["retrain"] |= trainer
    (folder / "mine.yml").write_text(yaml.safe_dump(content))
    said = _check(capsys, "--config", str(folder / "mine.yml"))
    assert (says or "no error") in said
    assert ("retrain." in said) == (says is not None)


def test_three_weeks_support_three_weeks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rhythm is found, and the promise of 30 days is extrapolated from the 21 that the reference spans."""
    keep_timed_reference(folder, GENRES, make_rows(GENRES, 4_200), 21)
    assert (
        _check(capsys)
        == f"""\
{SOUND}{folder / "reference.parquet"}: 4,200 rows in 21 days. The drift alarm with it:
  promised: on average at most one false alarm in 6,000 rows (30 days at 200 rows a day)
  supported: 4,200 rows without change (21 days), the reference's own: the calibration uses its 3 weeks again and \
again, which makes no new ones. The promise reaches 1.4 times as far; beyond them it is extrapolated, by a Gumbel law \
fitted to the highest scores of rows without change.
  rhythm: a week, learned from 3 of them in the reference: rows are held against what is usual at their time of the \
week.
"""
    )


def test_a_reference_of_hours_gives_no_rhythm(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says that its rows depend on each other, that nothing supports a promise, and what helps."""
    keep_timed_reference(folder, GENRES, make_rows(GENRES, 600), 0.25)
    said = _check(capsys)
    assert "supported: nothing: the alarm takes the reference's rows for independent of each other" in said
    assert "rhythm: no daily or weekly one is in the alarm: the reference spans 6 hours" in said
    assert "alarms come far more often than promised: give reference.parquet rows of two days at least" in said


def test_a_reference_without_times_supports_a_rate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many rows 30 days are is not known yet; at how many a day the promise is covered is said."""
    keep_reference(folder, GENRES, make_rows(GENRES, 300))
    said = _check(capsys)
    assert "promised: on average at most one false alarm in 30 days\n" in said
    assert "supported: 1,200,000 rows without change, drawn from the reference one by one" in said
    assert "They cover the promise up to 40,000 rows a day; with more it is extrapolated" in said
    assert "give reference.parquet a column timestamp" in said


def test_a_reference_may_be_named_before_it_has_predictions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A first start makes them; one that does not fit the config is refused with status 2."""
    rows = make_rows(GENRES, 300).drop(columns=GENRES.model.prediction)
    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path)
    assert f"{path}: 300 rows. The drift alarm with it:" in _check(capsys, "--reference", str(path))
    pq.write_table(pa.Table.from_pandas(make_rows(LOANS, 300), preserve_index=False), path)
    assert main(["check-config", "--config", str(CONFIG), "--reference", str(path)]) == 2
    assert "does not fit the config" in capsys.readouterr().err


def test_another_models_reference_is_no_error_of_the_config(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What lies in DATA_DIR may be another model's: it is said, and the config stays sound."""
    keep_reference(folder, LOANS, make_rows(LOANS, 300))
    said = _check(capsys)
    assert said.startswith(SOUND)
    assert "does not fit the config" in said


def test_a_rebased_reference_has_the_rhythm_of_the_rows_before(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They lie beside it, and vouch for as many rows as they are."""
    layout = Layout(folder)
    keep_timed_reference(folder, GENRES, make_rows(GENRES, 4_200), 21)
    before = read_reference(layout, GENRES.model)
    keep_timed_reference(folder, GENRES, make_rows(GENRES, 600), 1.5)
    digest = read_reference(layout, GENRES.model).digest
    columns = ["timestamp", *GENRES.model.features, GENRES.model.prediction]
    write_rhythm_rows(layout, GENRES.model, digest, RhythmRows(before.table.select(columns), 1.0))
    said = _check(capsys)
    assert "rhythm: a week, learned from 3 of them before the reference was re-based" in said
    assert "supported: 4,200 rows without change" in said


def test_each_config_of_a_folder_is_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One faulty file holds up no other; each model has a folder of its own; all that is faulty is told at the end."""
    configs = folder / "models"
    (configs / "folder.yml").mkdir(parents=True)
    text = CONFIG.read_text()
    for name, content in {
        "a.yml": text,
        "b.yaml": text.replace("name: genre-classifier", "name: Genre-Classifier"),
        "broken.yml": "model: [",
        "long.yml": text.replace("name: genre-classifier", f"name: {'g' * 129}"),
        "other.yml": text.replace("name: genre-classifier", "name: other"),
        "slash.yml": text.replace("name: genre-classifier", "name: ../other"),
        ".a.yml": "an editor's",
        "notes.txt": "no config",
    }.items():
        (configs / name).write_text(content)
    os.mkfifo(configs / "pipe.yml")
    keep_reference(folder / "other", GENRES, make_rows(GENRES, 600))

    assert main(["check-config", "--config", str(configs)]) == CANNOT
    said = capsys.readouterr()
    absent = folder / "genre-classifier/reference.parquet"
    assert said.out.startswith(f"{configs}/a.yml: 13 features, 10 categories, no error\n{absent}: not there yet")
    assert f"{folder}/other/reference.parquet: " in said.out
    assert said.err.count(f"{configs}/b.yaml: names the model Genre-Classifier, as {configs}/a.yml does") == 1
    for line in (
        "broken.yml: is not YAML",
        "folder.yml: is no file",
        "pipe.yml: is no file",
        "long.yml: model.name is",
    ):
        assert f"{configs}/{line}" in said.err
    assert "model.name = '../other'" in said.err
    assert said.err.endswith("6 of 8 config files cannot be used\n")


def test_what_takes_one_config_refuses_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says what it is."""
    monkeypatch.setenv("DRIFTLOOP_CONFIG", str(folder))
    assert main(["suggest-tests"]) == CANNOT
    assert f"{folder}: is a folder of many models' files; this takes one file" in capsys.readouterr().err


def test_a_log_of_others_is_one_models(tmp_path: Path) -> None:
    """Of many models each has its folder, in object storage too; PREDICTION_LOG means nothing there."""
    settings = MonitorSettings(data_dir=tmp_path, parts_uri="s3://bucket/logs/?region=x").of_model("flights")
    assert (settings.data_dir, settings.parts_uri) == (tmp_path / "flights", "s3://bucket/logs/flights?region=x")
    with pytest.raises(ConfigError, match="PREDICTION_LOG"):
        MonitorSettings(prediction_log="log").of_model("flights")
