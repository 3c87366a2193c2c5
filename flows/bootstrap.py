"""The flow `bootstrap`: a first start's reference and champion. Running it again changes nothing."""

import math

import mlflow
import pyarrow as pa
from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from data.sample import draw_reference
from flows.registry.publication import complete, sole_run, stage
from flows.registry.tags import model_tags
from flows.registry.versions import Champion, UnfitVersionError, load_champion, promote, register, version_of
from flows.run_history import recorded
from flows.settings import FlowSettings
from flows.training.candidate import kept_performance
from flows.training.collection import newest_row
from flows.training.export import export_onnx, require_alike
from flows.training.metrics import TITLES
from flows.training.pipeline import choose_recipe, predict_out_of_fold, train, with_answers, with_predictions
from flows.training.sample import feature_matrix, sample_of
from flows.training.tasks import TASKS
from monitoring.contract.config import Config, Model
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.names import CHAMPION
from monitoring.contract.reference import Reference, read_reference
from monitoring.contract.rhythm_rows import read_rhythm_rows


@flow(name="bootstrap", description="Make the reference and the first champion, where there is none that fits.")
def bootstrap() -> State[None]:
    """Make the reference and the first champion.

    Ends COMPLETED as `Ready` (nothing was to do) or `Promoted` (a version was trained and is champion); FAILED if the
    reference does not fit the config. A champion that takes other features than the config, and a reference that is
    absent or without predictions, ask for a new version; but a champion that a person has registered predicts such a
    reference by itself, and stays.
    """
    settings = FlowSettings.read()
    config = load_config(settings.driftloop_config)
    layout = settings.layout(config.model)
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    with sole_run(layout), recorded(layout, "bootstrap") as record:
        former = version_of(config.model.name, CHAMPION)
        champion = _fitting_champion(config.model)
        if former is not None:
            complete(layout, former)
        present = read_reference(layout, config.model, predicted=False) if layout.reference.exists() else None
        if champion is not None and present is not None and (_predicted(present, config) or champion.is_brought):
            champion.require_answers(present.table, config.model)
            if not _predicted(present, config):
                fill_predictions(layout, config.model, champion, present)
            record.version = champion.version
            record.catch_up()
            return Completed(name="Ready", message=f"version {champion.version} is champion; the reference is complete")
        table: pa.Table = draw_sample(config.model) if present is None else present.table
        origin = "sample" if present is None else present.origin
        keeps = origin == "user" and present is not None and _predicted(present, config)
        version = create_champion(config, layout, table, origin, former, keeps_predictions=keeps)
        record.version = version
        return record.conclude("Promoted", f"version {version} is champion; the reference has {len(table)} rows")


def _fitting_champion(model: Model) -> Champion | None:
    """Load the champion; None if there is none that fits the config."""
    try:
        return load_champion(model)
    except UnfitVersionError as error:
        get_run_logger().warning("A new version is trained: %s", error)
        return None


def _predicted(reference: Reference, config: Config) -> bool:
    return bool(reference.table[config.model.prediction].null_count < len(reference.table))


@task(cache_policy=NO_CACHE)
def draw_sample(model: Model) -> pa.Table:
    """Draw the sample reference from the collection's figures."""
    table = draw_reference(model)
    get_run_logger().info("There is no reference: %s sample rows were drawn", len(table))
    return table.append_column(model.prediction, pa.nulls(len(table), model.rules.values))


@task(cache_policy=NO_CACHE)
def fill_predictions(layout: Layout, model: Model, champion: Champion, present: Reference) -> None:
    """Fill the reference's predictions by the champion.

    Nobody has measured how good it is on rows that it has not seen, so the reference promises no accuracy.
    """
    predicted, probabilities = champion.onnx.predict(feature_matrix(present.table, model))
    table = with_answers(present.table, model, predicted, probabilities, champion.onnx.classes)
    rhythm = read_rhythm_rows(layout, model, present.digest)
    stage(layout, model, champion.version, table, origin=present.origin, through=present.through, rhythm_rows=rhythm)
    complete(layout, champion.version)
    get_run_logger().info("Version %s has predicted the reference's %s rows", champion.version, len(table))


@task(cache_policy=NO_CACHE)
def create_champion(
    config: Config,
    layout: Layout,
    table: pa.Table,
    origin: str,
    former: str | None,
    *,
    keeps_predictions: bool,
) -> str:
    """Train on the reference, register, and publish version and reference; return the version."""
    model = config.model
    sample = sample_of(table, model)
    if unlabelled := len(table) - len(sample.labels):
        get_run_logger().info("%s rows without a label are left out of training", unlabelled)
    recipe, task = choose_recipe(sample, config.retrain.metric), TASKS[model.task]
    pipeline = train(sample, recipe)
    exported = export_onnx(pipeline, model)
    require_alike(exported, pipeline, sample)
    answers = predict_out_of_fold(sample, recipe=recipe)
    scores = task.score(answers).values
    registered = register(
        exported,
        model,
        parameters={"recipe": recipe.name, **recipe.parameters, "rows": len(sample.labels)},
        metrics={f"cross_validated_{name}": value for name, value in scores.items() if math.isfinite(value)},
        tags={
            **model_tags(config, task.classes(pipeline)),
            "gate": "first",
            "origin": "bootstrap",
            "flow_run_id": str(runtime.flow_run.id),
        },
    )
    if keeps_predictions:
        performance = kept_performance(table, model)
    else:
        table = with_predictions(table, model, pipeline, answers)
        performance = task.performance(answers)
    # Rows that a former model has logged are no evidence about this one: the window starts after them.
    through = newest_row(layout) or None
    stage(layout, model, registered.version, table, origin=origin, through=through, performance=performance)
    promote(model.name, registered.version, former)
    complete(layout, registered.version)
    told = ", ".join(f"{TITLES[name]} {value:.4g}" for name, value in scores.items())
    get_run_logger().info("Version %s (%s) is champion; out of fold: %s", registered.version, recipe.name, told)
    return registered.version
