"""A rollback's target, which version the labels favour, and that the restored reference is the one that was kept."""

from collections.abc import Iterator

import mlflow
import pytest

from flows.registry.publication import complete, kept_reference, stage
from flows.registry.rollback_target import NoRollbackTargetError, find_rollback_target
from flows.registry.versions import Champion, demote, promote, register, tags_of, version_of
from flows.rollback_gate import compare_versions
from flows.training.export import export_onnx
from flows.training.pipeline import train
from flows.training.sample import sample_of
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.onnx.model import load_onnx
from monitoring.contract.reference import InvalidReferenceError, read_reference
from tests.unit.flows_fixtures import draw_wine, write_log
from tests.unit.models import wine

OPPOSITE = {"red": "white", "white": "red"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return wine(tmp_path_factory.mktemp("config"))


def publish(layout: Layout, config: Config, version: str, seed: int) -> None:
    rows = draw_wine(100, seed=seed)
    stage(layout, config.model, version, rows.append_column("guess", rows["truth"]), origin="rebased")
    complete(layout, version)


def answer(layout: Layout, config: Config, rows: int, *, wrong: int, version: str = "2", labels: str = "late") -> None:
    """Log rows that a version answered, the first of them wrongly."""
    drawn = draw_wine(rows, seed=8)
    truths = drawn["truth"].to_pylist()
    answers = [OPPOSITE[name] if i < wrong else name for i, name in enumerate(truths)]
    write_log(layout, config, drawn, labels=labels, version=version, answers=answers, writer=f"v{version}{labels}")


@pytest.fixture(scope="module")
def former(config: Config) -> Champion:
    pipeline = train(sample_of(draw_wine(400), config.model))
    return Champion("1", load_onnx(export_onnx(pipeline, config.model).SerializeToString(), config.model))


@pytest.mark.parametrize(
    ("rows", "wrong", "favours"),
    [
        pytest.param(200, 200, True, id="all answers wrong"),
        pytest.param(200, 40, True, id="a fifth wrong"),
        pytest.param(200, 0, False, id="as good as the former"),
        pytest.param(6, 3, False, id="too few to be no chance"),
    ],
)
def test_labels_favour_the_former_version_or_not(
    layout: Layout, config: Config, former: Champion, rows: int, wrong: int, *, favours: bool
) -> None:
    """What the champion answered counts; rows without label, and other versions' answers, do not."""
    answer(layout, config, rows, wrong=wrong)
    answer(layout, config, 300, wrong=300, labels="none")
    answer(layout, config, 300, wrong=300, version="1")
    found = compare_versions(layout, config, "2", former, after=None)
    assert found is not None
    assert (found.rows, found.champion.accuracy) == (rows, pytest.approx(1 - wrong / rows))
    assert found.favours_former is favours


def test_without_labels_there_is_no_comparison(layout: Layout, config: Config, former: Champion) -> None:
    """Rows from before the reference, and those without a label, are no evidence."""
    answer(layout, config, 100, wrong=100, labels="none")
    assert compare_versions(layout, config, "2", former, after=None) is None
    answer(layout, config, 100, wrong=100)
    assert compare_versions(layout, config, "2", former, after=2_000_000_000_000_000) is None


def test_a_kept_reference_that_is_damaged_or_gone_is_refused(layout: Layout, config: Config) -> None:
    """It is the file that was replaced, to the bit, or an error that names it."""
    publish(layout, config, "1", seed=1)
    before = read_reference(layout, config.model)
    publish(layout, config, "2", seed=2)
    assert kept_reference(layout, config.model, before.digest).table.equals(before.table)
    path = layout.root / "_references" / f"{before.digest}.parquet"
    path.write_bytes(layout.reference.read_bytes())  # readable, and another's
    with pytest.raises(InvalidReferenceError, match=before.digest):
        kept_reference(layout, config.model, before.digest)
    path.unlink()
    with pytest.raises(InvalidReferenceError, match="cannot be read"):
        kept_reference(layout, config.model, before.digest)


@pytest.fixture(scope="module")
def registry(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow.MlflowClient]:
    """Three versions in a real registry: the first two promoted by flows, one after the other, the third by nobody."""
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.create_experiment(config.model.name, artifact_location=str(folder / "artifacts"))
    exported = export_onnx(train(sample_of(draw_wine(200), config.model)), config.model)
    for day in (1, 2, 3):
        tags = {"promoted_at": f"2026-11-2{day}T08:00:00+00:00", "reference_digest": "kept"} if day < 3 else {}
        register(exported, config.model, parameters={}, metrics={}, tags=tags)
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri("")


@pytest.mark.filterwarnings("ignore")  # MLflow's, not ours
@pytest.mark.parametrize(
    ("champion", "previous", "own", "found"),
    [
        pytest.param("2", "1", "2", "1", id="promoted by the flow"),
        pytest.param("3", "1", "2", "2", id="a hand has promoted what no flow did"),
        pytest.param("2", "1", "1", "1", id="a hand has promoted again what was gone back from"),
        pytest.param("1", "1", "2", "by hand, from version 2 back to 1", id="a hand has rolled back"),
        pytest.param("2", None, "2", "the way back was gone already", id="rolled back already"),
        pytest.param("2", "2", "2", "the way back was gone already", id="cut off during the rollback"),
        pytest.param("3", "2", "3", "no tag of version 3", id="of unknown origin"),
    ],
)
def test_the_rollback_target_is_found_once(
    registry: mlflow.MlflowClient,
    layout: Layout,
    config: Config,
    *,
    champion: str,
    previous: str | None,
    own: str,
    found: str,
) -> None:
    """It leads to a version that served before, with its reference, and never to one that was rolled back."""
    name = config.model.name
    publish(layout, config, "1", seed=1)
    digest = read_reference(layout, config.model).digest
    publish(layout, config, own, seed=2)
    present = read_reference(layout, config.model)
    for version in ("1", "2"):
        registry.set_model_version_tag(name, version, "reference_digest", digest)
    registry.delete_registered_model_alias(name, "previous")
    if previous is not None:
        registry.set_registered_model_alias(name, "previous", previous)
    if found not in {"1", "2"}:
        with pytest.raises(NoRollbackTargetError, match=found):
            find_rollback_target(layout, config, champion, present)
        return
    target = find_rollback_target(layout, config, champion, present)
    assert target.former.version == found
    assert target.reference.digest == (digest if own == champion else present.digest)


@pytest.mark.filterwarnings("ignore")  # MLflow's, not ours
def test_a_version_that_was_rolled_back_itself_is_no_target(
    registry: mlflow.MlflowClient, layout: Layout, config: Config
) -> None:
    """Two bad versions do not take turns."""
    registry.set_registered_model_alias(config.model.name, "previous", "1")
    registry.set_model_version_tag(config.model.name, "1", "rolled_back_at", "2026-11-22T09:00:00+00:00")
    publish(layout, config, "2", seed=1)
    try:
        with pytest.raises(NoRollbackTargetError, match="was itself rolled back at 2026-11-22"):
            find_rollback_target(layout, config, "2", read_reference(layout, config.model))
    finally:
        registry.delete_model_version_tag(config.model.name, "1", "rolled_back_at")


@pytest.mark.filterwarnings("ignore")  # MLflow's, not ours
def test_a_flow_that_moves_the_alias_names_the_moment_of_the_change(
    registry: mlflow.MlflowClient, config: Config
) -> None:
    """A promotion and a rollback tell all who follow the alias when they serve the version, a few seconds ahead."""
    name = config.model.name
    registry.set_registered_model_alias(name, "champion", "1")
    promote(name, "2", "1")
    promoted = tags_of(name, "2")
    assert promoted["serves_from"] > promoted["promoted_at"]
    demote(name, "2", "1", "a test asked for it")
    assert tags_of(name, "1")["serves_from"] > tags_of(name, "2")["rolled_back_at"]
    assert version_of(name, "champion") == "1"
