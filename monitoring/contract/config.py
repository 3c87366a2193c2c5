"""The contract that all services share: the model's rows, config.yml, settings from the environment, log lines."""

import logging
import os
import re
import sys
import textwrap
from collections.abc import MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import pyarrow as pa
import structlog
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

NumericDriftTest = Literal["ks", "mannw", "t_test", "cramer_von_mises", "anderson"]
CategoricalDriftTest = Literal["chi_square_two_sample", "chisquare"]
Engine = Literal["profile", "dataframe"]
SuiteTest = Literal[
    "TestNumberOfColumnsWithMissingValues",
    "TestNumberOfRowsWithMissingValues",
    "TestNumberOfMissingValues",
    "TestNumberOfConstantColumns",
    "TestNumberOfDuplicatedRows",
    "TestNumberOfDuplicatedColumns",
    "TestNumberOfEmptyRows",
    "TestNumberOfEmptyColumns",
    "TestNumberOfRows",
    "TestColumnsType",
    "TestNumberOfDriftedColumns",
    "TestShareOfDriftedColumns",
    "TestColumnDrift",
    "TestAccuracyScore",
    "TestF1Score",
]
Condition = Literal["eq", "not_eq", "lt", "lte", "gt", "gte"]

# the fields that stand beside model.label in an answer
_ANSWER = ("prediction_id", "confidence", "probabilities", "model_version")
_UNCONDITIONAL = ("TestColumnsType", "TestColumnDrift")
# the drift tests whose p-values follow from counts at and between the reference's values
_FROM_PROFILES = ("ks", "t_test", "chi_square_two_sample", "chisquare")

LEAST_PROMISE = 1000  # rows between false alarms: fewer would be no promise

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class DriftloopError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(DriftloopError):
    """config.yml, or an environment variable, holds something that cannot be used."""


def parse_duration(text: Any) -> timedelta:
    """Read `90s`, `30m`, `1h` or `7d`; raise ValueError for anything else."""
    if isinstance(text, timedelta):
        return text
    number, unit = str(text)[:-1], str(text)[-1:]
    if unit not in _UNITS or not re.fullmatch(r"[0-9]{1,8}", number) or int(number) == 0:
        raise ValueError("a duration is a positive whole number and a unit, like 90s, 30m, 1h or 7d")
    return timedelta(**{_UNITS[unit]: int(number)})


def _write_duration(duration: timedelta) -> str:
    """Return what `parse_duration` reads."""
    return f"{duration // timedelta(seconds=1)}s"


def _rows_or_duration(given: Any) -> timedelta | int:
    """Read a number of rows, or a duration."""
    if isinstance(given, int) and not isinstance(given, bool):
        if given < LEAST_PROMISE:
            raise ValueError(f"a number of rows is at least {LEAST_PROMISE}")
        return given
    try:
        return parse_duration(given)
    except ValueError as error:
        raise ValueError(f"{error}; or it is a number of rows") from error


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"names must differ, but these stand more than once: {', '.join(twice)}")
    return names


def _free(label: str) -> str:
    if label in _ANSWER:
        raise ValueError(f"is taken in the API's answers; allowed is any name but {', '.join(_ANSWER)}")
    return label


Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Names = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_unique)]
Categories = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=2), AfterValidator(_unique)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(_write_duration, when_used="json")]
StorageURI = Annotated[str, Field(pattern=r"^(s3|gs|abfss?)://[^/?]+")]
FalseAlarmEvery = Annotated[Duration | int, BeforeValidator(_rows_or_duration)]
Probability = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Audio(_Section):
    """How a clip becomes features: the time means of librosa.feature.<extractor>."""

    extractor: Name
    sample_rate: int = Field(gt=0)
    options: dict[str, int | float | str | bool] = {}


class Model(_Section):
    """The watched model's inputs and outputs."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    features: Names
    prediction: Name
    target: Name
    label: Annotated[Name, AfterValidator(_free)]
    categories: Categories
    audio: Audio | None = None

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        _unique(
            (*self.features, self.prediction, self.target, "prediction_id", "timestamp", "confidence", "model_version")
        )
        return self


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
    """One column's two-sample test: drift is a p-value below the threshold."""

    test: Literal[NumericDriftTest, CategoricalDriftTest]
    threshold: Probability


class Drift(_Section):
    """The drift test of every column."""

    default: DriftTest
    columns: dict[str, DriftTest] = {}


class SuiteEntry(_Section):
    """One entry of the suite: an Evidently test's name and its condition."""

    name: SuiteTest
    condition: dict[Condition, float] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, entry: Any) -> Any:
        if isinstance(entry, str):
            return {"name": entry}
        if isinstance(entry, dict) and len(entry) == 1 and "name" not in entry:
            ((name, condition),) = entry.items()
            return {"name": name, "condition": condition or {}}
        return entry

    @model_validator(mode="after")
    def _takes_condition(self) -> Self:
        if self.condition and self.name in _UNCONDITIONAL:
            raise ValueError(f"{self.name} takes no condition")
        return self


class Retrain(_Section):
    """What a candidate learns from and what it must achieve."""

    rows: int = Field(gt=0)
    minimum_labels: int = Field(gt=0)
    holdout: Probability
    minimum_gain: float = Field(ge=0, lt=1)


def _require_test(key: str, drift: DriftTest, allowed: tuple[str, ...]) -> None:
    if drift.test not in allowed:
        raise ValueError(f"{key}.test is {drift.test!r}; allowed there are {', '.join(allowed)}")


def _require_profiled(key: str, drift: DriftTest) -> None:
    if drift.test not in _FROM_PROFILES:
        raise ValueError(
            f"{key}.test is {drift.test!r}, which cannot be computed from profiles; take one of"
            f" {', '.join(_FROM_PROFILES)}, or set `engine: dataframe`"
        )


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
    tests: Annotated[tuple[SuiteEntry, ...], Field(min_length=1)]
    retrain: Retrain

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        columns = (*self.model.features, self.model.prediction)
        for column, drift in self.drift.columns.items():
            if column not in columns:
                raise ValueError(f"drift.columns names {column!r}; allowed are {', '.join(columns)}")
            kind = CategoricalDriftTest if column == self.model.prediction else NumericDriftTest
            _require_test(f"drift.columns.{column}", drift, get_args(kind))
        if self.engine == "profile":
            for key, drift in {"default": self.drift.default, **self.drift.columns}.items():
                _require_profiled(f"drift.{key}", drift)
        _unique(tuple(entry.name for entry in self.tests))
        _require_test("drift.default", self.drift.default, get_args(NumericDriftTest))
        if self.window.rows is not None and self.window.rows < self.minimum_rows:
            raise ValueError(f"window.rows ({self.window.rows}) must be at least minimum_rows ({self.minimum_rows})")
        if (rows := self.retrain.rows) < (needed := self.retrain.minimum_labels):
            raise ValueError(f"retrain.rows ({rows}) must be at least retrain.minimum_labels ({needed})")
        return self

    def false_alarm_rows(self, rate: float) -> float:
        """Return the rows that are promised between false alarms, from the rows per second; LEAST_PROMISE at least."""
        every = self.false_alarm_every
        rows = every.total_seconds() * rate if isinstance(every, timedelta) else every
        return max(float(rows), LEAST_PROMISE)

    def drift_test(self, column: str) -> DriftTest:
        """Return the drift test of a feature or of the prediction column."""
        if column in self.drift.columns:
            return self.drift.columns[column]
        if column == self.model.prediction:
            return DriftTest(test="chi_square_two_sample", threshold=self.drift.default.threshold)
        return self.drift.default


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read and validate config.yml; raise ConfigError with every key that is wrong and what it takes."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: is not a mapping; it takes the keys {', '.join(Config.model_fields)}")
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(e)}" for e in error.errors())
        raise ConfigError(f"{path}: {error.error_count()} value(s) cannot be used:\n{lines}") from error


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "config"
    value = repr(error["input"])
    shown = textwrap.shorten(value, 80, placeholder="...")
    if error["type"] == "extra_forbidden":
        allowed = ", ".join(_section(error["loc"][:-1]).model_fields)
        return f"{key} = {shown}: no such key; allowed here are {allowed}"
    if error["type"] == "missing":
        return f"{key}: is missing"
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict) and shown != value:  # a whole section; the message names what does not fit
        return f"{key}: {message}"
    if error["type"] == "string_type" and isinstance(error["input"], bool):
        message += " (YAML reads a bare yes, no, on and off as booleans: quote it)"
    return f"{key} = {shown}: {message}"


def _section(location: tuple[Any, ...]) -> type[BaseModel]:
    """Return the section class that stands at a key's place, to list its keys."""
    known: dict[str, type[BaseModel]] = {
        "model": Model, "audio": Audio, "metrics": Metrics, "window": Window,
        "drift": Drift, "default": DriftTest, "columns": DriftTest, "tests": SuiteEntry, "retrain": Retrain,
    }  # fmt: skip
    named = [known[part] for part in location if part in known]
    return named[-1] if named else Config


class Settings(BaseSettings):
    """A service's settings: each field is the environment variable of its name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path("data")
    local_dir: Path = Path("data")  # what data_dir is, where DATA_DIR is a URI
    parts_uri: StorageURI | None = None  # where the parts of the logs lie, if not under data_dir
    driftloop_config: Path = Path("monitoring/config.yml")

    @model_validator(mode="before")
    @classmethod
    def _split_data_dir(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Take a DATA_DIR in object storage as the place of the parts alone: all else stays on this machine."""
        if "://" not in str(given.get("data_dir", "")):
            return given
        return {**given, "data_dir": given.get("local_dir", "data"), "parts_uri": given["data_dir"]}

    @classmethod
    def read(cls) -> Self:
        """Read the environment; raise ConfigError with the name of each variable that is wrong and what it takes."""
        try:
            return cls()
        except ValidationError as error:
            lines = "\n".join(f"  {_explain_variable(e)}" for e in error.errors())
            raise ConfigError(f"the environment cannot be used:\n{lines}") from error

    def read_secret(self, variable: str, path: Path) -> str:
        """Read the secret in a file that a variable names; raise ConfigError if it is none that a header can carry."""
        try:
            secret = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{variable} = {path}: cannot be read: {error}") from error
        if not secret:
            raise ConfigError(f"{variable} = {path}: is empty; it takes one line, the secret")
        return secret


def _explain_variable(error: Any) -> str:
    """Say what is wrong; where no single variable is, the input holds all of them and must not be shown."""
    name = ".".join(str(part) for part in error["loc"]).upper()
    if error["type"] == "missing":
        return f"{name}: is missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{name} = {error['input']!r}: {message}" if name else message


def start_logging(service: str) -> None:
    """Send every log line of this process, libraries' too, to stdout as one JSON object."""

    def add_service(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"service": service, **event}

    shared: list[structlog.typing.Processor] = [
        add_service,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


TIMESTAMP = pa.timestamp("us", tz="UTC")


def log_schema(model: Model) -> pa.Schema:
    """Return the columns of current.parquet: one row per prediction."""
    return pa.schema(
        [
            pa.field("prediction_id", pa.string(), nullable=False),
            pa.field("timestamp", TIMESTAMP, nullable=False),
            *(pa.field(name, pa.float32()) for name in model.features),
            pa.field(model.prediction, pa.string()),
            pa.field("confidence", pa.float32()),
            pa.field("model_version", pa.string()),
            pa.field(model.target, pa.string()),
        ]
    )


def labels_schema(model: Model) -> pa.Schema:
    """Return the columns of labels.parquet: one row per label that arrived later."""
    return pa.schema(
        [
            pa.field("prediction_id", pa.string(), nullable=False),
            pa.field(model.target, pa.string(), nullable=False),
            pa.field("timestamp", TIMESTAMP, nullable=False),
        ]
    )


def reference_schema(model: Model) -> pa.Schema:
    """Return the columns of reference.parquet: features, prediction, target."""
    return pa.schema(
        [
            *(pa.field(name, pa.float32()) for name in model.features),
            pa.field(model.prediction, pa.string()),
            pa.field(model.target, pa.string()),
        ]
    )
