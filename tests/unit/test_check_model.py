"""The command that says whether a model fits before it is registered."""

from pathlib import Path

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from flows.__main__ import main
from tests.processes import ROOT
from tests.unit.flows_fixtures import draw_wine
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.mixed_models import champion, lay_down, two_matrices
from tests.unit.models import write_config
from tests.unit.own_models import FEATURES, Graph, converted, named, regressor, train

NAMES = train(("red", "white"))
GOOD = named(converted(NAMES, zipmap=True))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


def check(path: Path, config: Path, *more: str) -> int:
    return main(["check-model", str(path), "--config", str(config), *more])


def write_reference(path: Path, missing: int = 0) -> str:
    table = draw_wine(40)
    sugar = [None if row < missing else value for row, value in enumerate(table["sugar"].to_pylist())]
    pq.write_table(table.set_column(1, "sugar", pa.array(sugar, pa.float64())), path)
    return str(path)


def test_what_fits_is_described(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Inputs, outputs, where names are from, and how missing values are taken; exit 0."""
    path = tmp_path / "wine.onnx"
    path.write_bytes(GOOD)
    reference = write_reference(tmp_path / "reference.parquet")
    assert check(path, config, "--reference", reference) == 0
    said = capsys.readouterr().out
    for line in (
        "inputs:         float_input tensor(float) [?, 4]",
        "outputs:        output_label tensor(string) [?], output_probability seq(map(string,tensor(float)))",
        "probabilities:  output_probability",
        "features:       acidity, sugar, alcohol, density (not named in the file: taken to be the config's, in its",
        "classes:        red, white (the keys of its maps)",
        "missing values: has no answer without a value of acidity, sugar, alcohol, density",
        f"{path} fits the config {config}",
    ):
        assert line in said


def test_a_reference_with_missing_values_asks_for_a_model_that_takes_them(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same model is refused for one reference and fits another."""
    path = tmp_path / "wine.onnx"
    path.write_bytes(GOOD)
    reference = write_reference(tmp_path / "reference.parquet", missing=3)
    assert check(path, config, "--reference", reference) == 2
    assert "no answer for 3 of 40 rows of the reference: it needs a value of sugar" in capsys.readouterr().err
    path.write_bytes(named(converted(train(("red", "white"), forest=True))))
    assert check(path, config, "--reference", reference) == 0


def with_external_data(folder: Path) -> bytes:
    model = Graph().tensor().probabilities().out("probabilities", ["N", 2]).model()
    convert_model_to_external_data(model, location="elsewhere.bin", size_threshold=0)
    onnx.save(model, folder / "external.onnx")
    return (folder / "external.onnx").read_bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "not a readable ONNX model", id="empty"),
        pytest.param(b"no model\n", "not a readable ONNX model", id="text"),
        pytest.param(GOOD[: len(GOOD) // 2], "not a readable ONNX model", id="truncated"),
        pytest.param(
            with_external_data,
            "weights of it lie in other files (external data): save it as one file",
            id="external data",
        ),
        pytest.param(named(regressor()), "does not name its classes", id="a regressor"),
        pytest.param(None, "cannot be read: Is a directory", id="a folder"),
    ],
)
def test_what_is_no_model_is_named_without_a_traceback(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str], content: object, says: str
) -> None:
    """Any file is answered by a line that names it, and exit 2."""
    path = tmp_path / "other" / "model.onnx"
    path.parent.mkdir()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content(tmp_path) if callable(content) else content)
    assert check(path, config) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert all(line.startswith(str(path)) for line in said.err.splitlines())
    assert said.out == ""


def test_all_files_that_are_wrong_are_told_of_at_once(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model's problems and the reference's; a config or a model that is not there ends it at once."""
    path = tmp_path / "wine.onnx"
    path.write_bytes(named(converted(NAMES), features=FEATURES[::-1], classes=["red", "rosé"]))
    assert check(path, config, "--reference", str(config)) == 2
    said = capsys.readouterr().err
    for part in ("in this order", "its classes are red, rosé", "wine.yml: is not a readable Parquet file"):
        assert part in said
    assert check(tmp_path / "none.onnx", config) == 2
    assert "none.onnx: cannot be read: No such file" in capsys.readouterr().err
    assert check(path, tmp_path / "none.yml") == 2
    assert "none.yml: cannot be read" in capsys.readouterr().err


def test_levels_and_answers_of_either_task_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which features are taken as text, what the answer is; and a model of the other task is refused."""
    cut = {**tips().model.model_dump(exclude_unset=True), "positive": "yes", "threshold": 0.25}
    for config, lines in (
        (trips(), ("answers:        numbers, of the output variable", "levels:         zone, airport as text")),
        (tips(model=cut), ("answers:        yes where its probability is 0.25 or more", "classes:        no, yes")),
    ):
        folder = tmp_path / config.model.task
        written = lay_down(folder, config, content := champion(config.model))
        (folder / "model.onnx").write_bytes(content)
        assert check(folder / "model.onnx", written) == 0
        said = capsys.readouterr().out
        assert all(line in said for line in lines), said
    assert check(tmp_path / "classification/model.onnx", tmp_path / "regression/config.yml") == 2
    assert "it is a classifier of no, yes, and the config's task is a regression" in capsys.readouterr().err
    assert check(tmp_path / "regression/model.onnx", tmp_path / "classification/config.yml") == 2
    assert "the config says that with `task: regression`" in capsys.readouterr().err


def test_levels_that_change_no_answer_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that was fitted on `STATION` where `station` is sent fits, and answers as if there were no zone."""
    table = pa.table(trip_rows(300, 1))
    pq.write_table(table, tmp_path / "reference.parquet")
    for level, deaf in (("station", "levels of airport change"), ("STATION", "levels of zone, airport change")):
        written = lay_down(tmp_path, trips(), content := two_matrices(level).SerializeToString())
        (tmp_path / "model.onnx").write_bytes(content)
        assert check(tmp_path / "model.onnx", written, "--reference", str(tmp_path / "reference.parquet")) == 0
        assert deaf in capsys.readouterr().out


def test_the_page_lists_what_is_required() -> None:
    """docs/own-model.md has the command and a row for each thing that is checked."""
    page = (ROOT / "docs/own-model.md").read_text()
    _, _, section = page.partition("## Bring a model of your own")
    assert ".venv/bin/python -m flows check-model" in section
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")][2:]
    assert rows[:9] == [
        "file", "inputs", "categorical features", "features", "number (regression)", "probabilities (classification)",
        "classes (classification)", "number of rows", "missing values",
    ]  # fmt: skip
