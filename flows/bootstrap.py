"""The flow `bootstrap`: a first start's reference and champion. Running it again changes nothing."""

import math

import mlflow
import pyarrow as pa
from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from data.sample import draw_reference
from flows.first_start import WAITING, Start, is_predicted, keep_champion, start_without_training
from flows.registry.publication import complete, sole_run, stage
from flows.registry.tags import model_tags
from flows.registry.versions import promote, register, version_of
from flows.rollout import trial_on
from flows.run_history import RunRecord, recorded
from flows.settings import FlowSettings
from flows.training.candidate import kept_performance
from flows.training.collection import newest_row
from flows.training.export import export_onnx, require_alike
from flows.training.metrics import TITLES
from flows.training.pipeline import choose_recipe, predict_out_of_fold, train, with_predictions
from flows.training.sample import sample_of
from flows.training.tasks import TASKS
from flows.watched_models import watched_model
from monitoring.contract.config import Config, Model
from monitoring.contract.layout import Layout
from monitoring.contract.names import CHAMPION
from monitoring.contract.reference import read_reference


@flow(name="bootstrap", description="Make the reference and the first champion, where there is none.")
def bootstrap(model: str | None = None) -> State[None]:
    """Make the reference and the first champion; a champion that is there stays.

    `model` names one of many models (DRIFTLOOP_CONFIG is a folder).

    Ends COMPLETED as `Ready` (there is a champion; its reference is completed), `Promoted` (a version was trained, or
    registered from `model.source`, and is champion) or `Waiting` (`bootstrap: wait`, and no model is registered yet);
    FAILED if the reference, or the champion, does not fit the config.
    """
    settings = FlowSettings.read()
    of = watched_model(settings, model)
    config, layout = of.config, of.layout
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    with sole_run(layout), recorded(layout, "bootstrap") as record:
        return _start(config, layout, record)


def _start(config: Config, layout: Layout, record: RunRecord) -> State[None]:
    say, run = get_run_logger().info, {"flow_run_id": str(runtime.flow_run.id)}
    if (version := version_of(config.model.name, CHAMPION)) is not None:
        start = keep_champion(config, layout, version, say)
        record.version = start.version
        trial_on(config, layout, version, record)
        record.catch_up()
        return Completed(name=start.outcome, message=start.message)
    start = start_without_training(config, layout, say, run) or _train(config, layout)
    record.version = start.version
    if start.outcome == WAITING and record.told(WAITING):
        return Completed(name=start.outcome, message=start.message)
    return record.conclude(start.outcome, start.message)


def _train(config: Config, layout: Layout) -> Start:
    present = read_reference(layout, config.model, predicted=False) if layout.reference.exists() else None
    table: pa.Table = draw_sample(config.model) if present is None else present.table
    origin = "sample" if present is None else present.origin
    keeps = origin == "user" and present is not None and is_predicted(present, config)
    version = create_champion(config, layout, table, origin, keeps_predictions=keeps)
    return Start("Promoted", f"version {version} is champion; the reference has {len(table)} rows", version)


@task(cache_policy=NO_CACHE)
def draw_sample(model: Model) -> pa.Table:
    """Draw the sample reference from the collection's figures."""
    table = draw_reference(model)
    get_run_logger().info("There is no reference: %s sample rows were drawn", len(table))
    return table.append_column(model.prediction, pa.nulls(len(table), model.rules.values))


@task(cache_policy=NO_CACHE)
def create_champion(
    config: Config,
    layout: Layout,
    table: pa.Table,
    origin: str,
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
    promote(model.name, registered.version, None)
    complete(layout, registered.version)
    told = ", ".join(f"{TITLES[name]} {value:.4g}" for name, value in scores.items())
    get_run_logger().info("Version %s (%s) is champion; out of fold: %s", registered.version, recipe.name, told)
    return registered.version
