"""config.yml: the watched model, its window, its tests, its alarms and its retraining.

Each section is a class, and each key a field of it; `monitoring.contract.config_file` reads the file.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from monitoring.contract.categories import category_text
from monitoring.contract.column_names import Columns
from monitoring.contract.config_values import (
    LEAST_PROMISE,
    Categories,
    Duration,
    FalseAlarmEvery,
    Levels,
    Name,
    Names,
    Number,
    Probability,
    TimeZone,
    Word,
    require_free,
    require_free_answer,
    require_free_target,
    require_unique,
)
from monitoring.contract.kinds import DISTANCES, KINDS, CategoricalDriftTest, Kind, KindName, NumericDriftTest
from monitoring.contract.probabilities import probability_column
from monitoring.contract.suite_tests import (
    OF_CATEGORY,
    OF_COLUMN,
    OF_PROBABILITIES,
    PARAMETERS,
    QUANTILE_TESTS,
    UNCONDITIONAL,
    DataTest,
)
from monitoring.contract.tasks import TASKS, ClassificationTest, RegressionTest, Task, TaskName

Engine = Literal["profile", "dataframe"]
CYCLES = {"1d": timedelta(days=1), "7d": timedelta(days=7)}  # that `rhythm` may name


def cycle_length(name: str) -> int:
    """Return the length of one of CYCLES in microseconds."""
    return CYCLES[name] // timedelta(microseconds=1)


RetrainMetric = Literal["accuracy", "macro_f1", "log_loss", "roc_auc", "mae", "rmse"]
GateTest = Literal["point", "bootstrap", "mcnemar"]
Condition = Literal["eq", "not_eq", "lt", "lte", "gt", "gte"]

# the drift tests that follow from counts at and between the reference's values; TVD's p-value is one of permuted rows
_FROM_PROFILES = ("ks", "t_test", *(test for test in KINDS["categorical"].drift_tests if test != "TVD"))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Audio(_Section):
    """How a clip becomes features: the time means of librosa.feature.<extractor>."""

    extractor: Word
    sample_rate: int = Field(gt=0)
    options: dict[str, int | Number | str | bool] = {}


class Pyfunc(_Section):
    """That models of MLflow's flavour pyfunc may serve, and what the process may take that runs one's code.

    `python` is the interpreter, which has MLflow and what the model needs; None: the service's own. `seconds` are those
    of one request, `memory_mb` those of the process.
    """

    python: Annotated[str, Field(min_length=1)] | None = None
    seconds: float = Field(default=10.0, gt=0, le=600)
    memory_mb: int = Field(default=2048, ge=64)


class Model(_Section):
    """The watched model's inputs and outputs; `dtype` is the type of the log's numeric columns.

    `features` in the config is a list of names, all of them numeric, or a mapping of names to kinds, which becomes
    `features` and `kinds` here. A regression has neither categories nor a label's name. `columns` has the names that
    files of others have for columns of the log (`monitoring.contract.column_names`).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    task: TaskName = "classification"
    features: Names
    kinds: Mapping[Name, KindName] = {}
    prediction: Name
    target: Annotated[Name, AfterValidator(require_free_target)]
    label: Annotated[Word, AfterValidator(require_free)] = ""
    categories: Categories = ()
    positive: Annotated[Name, BeforeValidator(category_text)] | None = None
    threshold: Probability | None = None
    probabilities: bool = False  # of all categories, in the log
    dtype: Literal["float32", "float64"] = "float64"
    columns: Mapping[Literal["timestamp", "prediction_id", "confidence", "model_version"], Name] = {}
    audio: Audio | None = None
    segments: Annotated[tuple[Name, ...], Field(max_length=5)] = ()  # features whose levels or bins are groups of rows
    pyfunc: Pyfunc | None = None  # None: models that run code of theirs are refused
    source: Annotated[str, Field(min_length=1)] | None = None  # path or URI of a model that is to be the first champion

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, content: Any) -> Any:
        """Divide a mapping of features to kinds into the names and the kinds; an empty label or category is none."""
        if not isinstance(content, Mapping):
            return content
        if content.get("task") == "regression":
            content = {key: value for key, value in content.items() if value or key not in {"label", "categories"}}
        if isinstance(given := content.get("features"), Mapping):
            return {**content, "features": tuple(given), "kinds": dict(given)}
        return content

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        require_unique(
            (
                *(*self.features, self.prediction, self.target),
                *("prediction_id", "timestamp", "confidence", "model_version"),
                *self.probability_columns,
                *(theirs for ours, theirs in self.columns.items() if theirs != ours),
            )
        )
        if self.audio and self.target == "file":
            raise ValueError("target 'file' is taken: a request with a clip has it in a field of that name")
        if self.audio and self.of_kind("categorical"):
            raise ValueError("audio gives numbers: with it no feature is categorical")
        if beyond := sorted(set(self.kinds) - set(self.features)):
            raise ValueError(f"kinds names {beyond[0]!r}, which is no feature")
        return self

    @model_validator(mode="after")
    def _segments_are_features(self) -> Self:
        require_unique(self.segments)
        if beyond := [name for name in self.segments if name not in self.features]:
            raise ValueError(f"segments names {beyond[0]!r}, which is no feature; there are {', '.join(self.features)}")
        return self

    @model_validator(mode="after")
    def _fits_task(self) -> Self:
        if self.task == "regression":
            given = [key for key in ("categories", "positive", "threshold", "probabilities") if getattr(self, key)]
            if given:
                raise ValueError(f"{given[0]} is of a classification; a regression answers numbers")
            require_free_answer(self.prediction)
            return self
        missing = [key for key in ("label", "categories") if not getattr(self, key)]
        if missing:
            raise ValueError(f"{' and '.join(missing)}: is missing; a classification names what it answers")
        if (self.positive is not None or self.threshold is not None) and not self.binary:
            raise ValueError(f"positive and threshold are for two categories; there are {len(self.categories)}")
        if self.positive is not None and self.positive not in self.categories:
            raise ValueError(f"positive is {self.positive!r}; it must be one of {', '.join(self.categories)}")
        if self.threshold is not None and self.positive is None:
            raise ValueError("threshold is the probability of `positive`, which is missing")
        return self

    @property
    def names(self) -> Columns:
        """Return `columns` as pairs of our name and that of others, for who reads their files."""
        return tuple(sorted(self.columns.items()))

    def kind(self, column: str) -> Kind:
        """Return the kind of a feature, or of the prediction and the target."""
        if column in (self.prediction, self.target):
            return KINDS[self.rules.kind]
        return KINDS[self.kinds.get(column, "numeric")]

    def of_kind(self, name: KindName) -> tuple[str, ...]:
        """Return the features of a kind, in the config's order."""
        return tuple(feature for feature in self.features if self.kind(feature).name == name)

    @property
    def binary(self) -> bool:
        """Return whether there are two categories."""
        return len(self.categories) == 2  # noqa: PLR2004 - two

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return the columns that are tested as numbers: the numeric features, and a regression's prediction."""
        return tuple(name for name in (*self.features, self.prediction) if self.kind(name).name == "numeric")

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """Return the columns of the categories' probabilities, in their order; none where they are not kept."""
        return tuple(map(probability_column, self.categories)) if self.probabilities else ()

    @property
    def scored(self) -> tuple[str, ...]:
        """Return the categories whose probabilities tell all others': of two categories one, else all that are kept.

        Of two, prediction and confidence tell both probabilities.
        """
        if self.binary:
            return (self.categories[1] if self.positive is None else self.positive,)
        return self.categories if self.probabilities else ()

    @property
    def rules(self) -> Task:
        """Return what the task says of predictions and labels."""
        return TASKS[self.task]

    @property
    def answer(self) -> str:
        """Return the field of the API's answer that holds the prediction."""
        return self.prediction if self.task == "regression" else self.label


class Metrics(_Section):
    """How the monitor's per-feature metrics are named."""

    feature_prefix: str = Field(pattern=r"^[a-z][a-z0-9_]*$")

    @model_validator(mode="after")
    def _is_not_taken(self) -> Self:
        if self.feature_prefix == "prediction":
            raise ValueError("feature_prefix 'prediction' is taken: prediction_drift_p_value is the prediction's own")
        return self


class Window(_Section):
    """The newest rows that are held against the reference: a number of them, or a duration."""

    rows: int | None = Field(default=None, gt=0)
    duration: Duration | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.rows is None) == (self.duration is None):
            raise ValueError("give either rows or duration")
        return self


class DriftTest(_Section):
    """One column's two-sample test: drift is a p-value below the threshold, or a distance from it on."""

    test: Literal[NumericDriftTest, CategoricalDriftTest]
    threshold: Probability

    @property
    def is_distance(self) -> bool:
        """Return whether the test measures a distance, and gives no p-value."""
        return self.test in DISTANCES


class Drift(_Section):
    """The drift test of every column: of numbers (`default`), of categories, and of single columns."""

    default: DriftTest
    categorical: DriftTest | None = None
    columns: dict[str, DriftTest] = {}


class SuiteEntry(_Section):
    """One entry of the suite: an Evidently test's name, which feature or category it is of, and its condition.

    `left` and `right` are the bounds of a range, both included; one that is not given is the reference's. `values` are
    a list of levels in the place of the reference's.
    """

    name: Literal[DataTest, ClassificationTest, RegressionTest]
    condition: dict[Condition, Number] = {}
    column: Name | None = None
    category: Annotated[Name, BeforeValidator(category_text)] | None = None
    left: Number | None = None
    right: Number | None = None
    values: Levels | None = None
    quantile: Annotated[Number, Field(gt=0, le=1)] | None = None
    n_sigmas: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, entry: Any) -> Any:
        if isinstance(entry, str):
            return {"name": entry}
        if isinstance(entry, dict) and len(entry) == 1 and "name" not in entry:
            ((name, given),) = entry.items()
            if not isinstance(given, dict):
                return {"name": name, "condition": given or {}}
            of = {key: value for key, value in given.items() if key in ("column", "category", *PARAMETERS)}
            return {"name": name, "condition": {k: v for k, v in given.items() if k not in of}, **of}
        return entry

    @property
    def key(self) -> str:
        """Return the name, with the feature or the category that it is of, and the quantile."""
        return self.key_of(self.column if self.category is None else self.category)

    def key_of(self, name: str | None) -> str:
        """Return the key of the test that the entry makes of a feature or a category."""
        named = self.name if name is None else f"{self.name}:{name}"
        return named if self.quantile is None else f"{named}:{self.quantile:g}"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Return what the test takes beside its condition, as far as it is given."""
        given = {key: getattr(self, key) for key in PARAMETERS}
        return {key: list(value) if key == "values" else value for key, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _takes_condition(self) -> Self:
        if self.condition and self.name in UNCONDITIONAL:
            raise ValueError(f"{self.name} takes no condition")
        if self.column is not None and self.name not in OF_COLUMN:
            raise ValueError(f"{self.name} takes no column; those that do are {', '.join(OF_COLUMN)}")
        if self.category is not None and self.name not in OF_CATEGORY:
            raise ValueError(f"{self.name} takes no category; those that do are {', '.join(OF_CATEGORY)}")
        return self

    @model_validator(mode="after")
    def _takes_parameters(self) -> Self:
        for key in self.parameters:
            if self.name not in PARAMETERS[key]:
                raise ValueError(f"{self.name} takes no {key}; those that do are {', '.join(PARAMETERS[key])}")
            if key in ("left", "right", "values") and self.column is None:
                raise ValueError(f"{self.name} with {key} is of one column, which `column` must name")
        if self.left is not None and self.right is not None and self.left > self.right:
            raise ValueError(f"{self.name}: left ({self.left:g}) is greater than right ({self.right:g})")
        if self.name == "TestColumnQuantile" and self.quantile is None:
            raise ValueError(f"{self.name} takes a quantile above 0 and up to 1, such as `quantile: 0.9`")
        return self


class Gate(_Section):
    """The test that a candidate must pass: of the gain as it is (point), or of its being more than chance."""

    test: GateTest = "point"
    level: Probability = 0.05


class TrainerLimits(_Section):
    """What a trainer of the user's may take in a run: time, and memory of all its processes together."""

    time: Duration = timedelta(minutes=15)
    memory_mb: int = Field(default=2048, ge=64)


class Trial(_Section):
    """What ends the trial of a challenger: evidence at this level, or so many labelled rows or so long a time.

    `level` is the probability at most that a challenger which is no better is promoted.
    """

    level: Probability = 0.05
    labels: int = Field(default=10_000, gt=0)
    time: Duration = timedelta(days=14)


class Retrain(_Section):
    """Whether alerts retrain, who trains, what a candidate learns from, and what it must achieve.

    `rollout` says whether a candidate that passes serves at once (direct), or is on `trial` first: in the shadow it is
    asked for the champion's rows, and nobody is given its answers.

    `metric` and `margin` are by default the task's; `minimum_gain` and `margin` are shares, of an error its own.
    `trainer` (a function, package.module:function) or `command` is the user's, in the place of the recipes;
    `forward` is the webhook of a scheduler of theirs, which retrains in the place of the flow.
    """

    mode: Literal["auto", "notify"] = "auto"
    rows: int = Field(default=4000, gt=0)
    minimum_labels: int = Field(default=400, gt=0)
    holdout: Probability = 0.3
    metric: RetrainMetric = "accuracy"
    minimum_gain: Number = Field(default=0.0, ge=0, lt=1)
    gate: Gate = Gate()
    margin: Number = Field(default=TASKS["classification"].margin, ge=0, lt=1)
    trainer: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
    command: Annotated[tuple[Annotated[str, Field(pattern=r"^[^\x00]+$")], ...], Field(min_length=1)] | None = None
    limits: TrainerLimits = TrainerLimits()
    rollout: Literal["direct", "shadow"] = "direct"
    trial: Trial = Trial()
    forward: str | None = Field(default=None, pattern=r"^https?://[^\s/?#]+[^\s]*$")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.trainer is not None and self.command is not None:
            raise ValueError("give either trainer or command")
        if self.rollout != "direct" and self.forward is not None:
            raise ValueError(f"rollout {self.rollout} is of the flow retrain, and forward has a scheduler retrain")
        if self.rollout != "direct" and self.trial.labels < self.minimum_labels:
            raise ValueError(
                f"trial.labels ({self.trial.labels}) must be at least minimum_labels ({self.minimum_labels}), of which "
                "a challenger's reference is made"
            )
        if self.forward is not None and self.mode == "notify":
            raise ValueError("forward has alerts start a run of your scheduler's; with mode notify they start none")
        return self

    @model_validator(mode="after")
    def _gate_fits_metric(self) -> Self:
        if self.gate.test == "mcnemar" and self.metric != "accuracy":
            raise ValueError(f"gate.test mcnemar is of accuracies; with metric {self.metric} take point or bootstrap")
        return self


def _require_test(key: str, drift: DriftTest, allowed: tuple[str, ...]) -> None:
    if drift.test not in allowed:
        raise ValueError(f"{key}.test is {drift.test!r}; allowed there are {', '.join(allowed)}")


class Owner(_Section):
    """Who hears of the model's alerts: a mail address, a Slack channel, or both."""

    email: Annotated[str, Field(pattern=r"^[^\s@,]+@[^\s@,]+$")] | None = None
    slack: Annotated[str, Field(pattern=r"^[#@][^\s]+$")] | None = None

    @model_validator(mode="after")
    def _is_reached(self) -> Self:
        if self.email is None and self.slack is None:
            raise ValueError("takes email, slack, or both")
        return self


class Config(_Section):
    """The whole of config.yml."""

    model: Model
    metrics: Metrics
    window: Window
    minimum_rows: int = Field(gt=1)
    minimum_labels: int = Field(gt=1)
    engine: Engine = "profile"
    duplicate_horizon: int | None = Field(default=None, gt=0)
    drift: Drift
    false_alarm_every: FalseAlarmEvery = timedelta(days=30)
    rhythm: Literal["auto", "none", "1d", "7d"] = "auto"
    timezone: TimeZone = "UTC"
    tests: Annotated[tuple[SuiteEntry, ...], Field(min_length=1)]
    retrain: Retrain = Retrain()
    bootstrap: Literal["train", "wait"] = "train"  # what a first start does without `model.source`
    owner: Owner | None = None  # None: all that `people` in alertmanager.yml reaches

    @model_validator(mode="before")
    @classmethod
    def _has_defaults_of_task(cls, content: Any) -> Any:
        """Give `retrain` the metric and the margin that are usual for the task, where it has none."""
        if not isinstance(content, Mapping):
            return content
        model, retrain = content.get("model"), content.get("retrain", {})
        if isinstance(model, Mapping) and isinstance(retrain, Mapping):
            for task in TASKS.values():
                if model.get("task") == task.name:
                    return {**content, "retrain": {"metric": task.metrics[0], "margin": task.margin, **retrain}}
        return content

    @model_validator(mode="after")
    def _one_first_model(self) -> Self:
        if self.bootstrap == "wait" and self.model.source is not None:
            raise ValueError("bootstrap: wait waits for a model, and model.source names one: give one of both")
        return self

    @model_validator(mode="after")
    def _metric_fits_task(self) -> Self:
        allowed = self.model.rules.metrics
        if self.retrain.metric not in allowed:
            raise ValueError(
                f"retrain.metric is {self.retrain.metric!r}; a {self.model.task} takes {', '.join(allowed)}"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        columns = (*self.model.features, self.model.prediction)
        for column, drift in self.drift.columns.items():
            if column not in columns:
                raise ValueError(f"drift.columns names {column!r}; allowed are {', '.join(columns)}")
            _require_test(f"drift.columns.{column}", drift, self.model.kind(column).drift_tests)
        if self.engine == "profile" and (problem := self.beyond_profiles()):
            raise ValueError(f"{problem}, or set `engine: dataframe`")
        require_unique(tuple(entry.key for entry in self.tests))
        self._require_tests_of_task()
        self._require_tests_of_columns()
        self._require_tests_of_scores()
        _require_test("drift.default", self.drift.default, KINDS["numeric"].drift_tests)
        if self.drift.categorical is not None:
            _require_test("drift.categorical", self.drift.categorical, KINDS["categorical"].drift_tests)
        if self.window.rows is not None and self.window.rows < self.minimum_rows:
            raise ValueError(f"window.rows ({self.window.rows}) must be at least minimum_rows ({self.minimum_rows})")
        if (rows := self.retrain.rows) < (needed := self.retrain.minimum_labels):
            raise ValueError(f"retrain.rows ({rows}) must be at least retrain.minimum_labels ({needed})")
        return self

    def _require_tests_of_task(self) -> None:
        """Raise ValueError if a test is of another task than the model's."""
        ours = self.model.rules
        for task in TASKS.values():
            others = [entry.name for entry in self.tests if entry.name in task.label_tests]
            if task is not ours and others:
                allowed = ", ".join(ours.label_tests)
                raise ValueError(f"tests: {others[0]} is of a {task.name}; for a {ours.name} there are {allowed}")

    def _require_tests_of_scores(self) -> None:
        """Raise ValueError if a test asks for probabilities that the log does not hold."""
        asked = [entry.name for entry in self.tests if entry.name in OF_PROBABILITIES]
        if asked and not self.model.scored:
            number = len(self.model.categories)
            raise ValueError(
                f"tests: {asked[0]} takes the probabilities of all {number} categories; set model.probabilities: true"
            )

    def _require_tests_of_columns(self) -> None:
        """Raise ValueError if a test is of a feature or a category that the model has not, or of another kind."""
        for entry in self.tests:
            allowed: tuple[str, ...] = self.model.categories
            if entry.name in OF_COLUMN:
                allowed = tuple(f for f in self.model.features if self.model.kind(f).name in OF_COLUMN[entry.name])
                if not allowed:
                    raise ValueError(f"tests: {entry.name} is of {OF_COLUMN[entry.name][0]} features; there are none")
            of = entry.column if entry.category is None else entry.category
            if of is not None and of not in allowed:
                raise ValueError(f"tests: {entry.name} names {of!r}; allowed there are {', '.join(allowed)}")

    def beyond_profiles(self) -> str | None:
        """Say which keys ask for what profiles do not give, and what they give; None if none does."""
        for entry in self.tests:
            if entry.name in QUANTILE_TESTS and not entry.condition:
                return (
                    f"tests: {entry.key} has no condition, and Evidently's is a tenth around the reference's value; "
                    "profiles tell on which side of a bound a quantile lies: give one, such as lte"
                )
        general = {"default": self.drift.default, "categorical": self.drift.categorical}
        keys = {key: of for key, of in general.items() if of} | {
            f"columns.{n}": of for n, of in self.drift.columns.items()
        }
        found = [f"drift.{key}.test is {of.test!r}" for key, of in keys.items() if of.test not in _FROM_PROFILES]
        if not found:
            return None
        named = ", ".join(found)
        return f"{named}, which cannot be computed from profiles; take one of {', '.join(_FROM_PROFILES)}"

    @property
    def first_model(self) -> str:
        """Say how the first champion comes to be, as part of a sentence."""
        if self.bootstrap == "wait":
            return "`python -m flows register --model …` registers one, which `bootstrap: wait` waits for"
        return "the flow `bootstrap` makes it"

    @property
    def cycle_seconds(self) -> float | None:
        """Return the length of the cycle that `rhythm` names; None where it names none."""
        return CYCLES[self.rhythm].total_seconds() if self.rhythm in CYCLES else None

    def false_alarm_rows(self, rate: float) -> float:
        """Return the rows that are promised between false alarms, from the rows per second; LEAST_PROMISE at least."""
        every = self.false_alarm_every
        rows = every.total_seconds() * rate if isinstance(every, timedelta) else every
        return max(float(rows), LEAST_PROMISE)

    def drift_test(self, column: str) -> DriftTest:
        """Return the drift test of a feature or of the prediction column."""
        if column in self.drift.columns:
            return self.drift.columns[column]
        if self.model.kind(column).name == "numeric":
            return self.drift.default
        usual = DriftTest(test="chi_square_two_sample", threshold=self.drift.default.threshold)
        return self.drift.categorical or usual
