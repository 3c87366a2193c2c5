"""A model that somebody brings becomes the first champion: registered, measured, and published with its reference."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from flows.conversion.conversion import Conversion, convert_brought
from flows.conversion.errors import BroughtModelError
from flows.conversion.reading import Brought, read_model
from flows.registry.publication import complete, stage
from flows.registry.tags import model_tags
from flows.registry.versions import Registered, digest_of, promote, register, tags_of
from flows.training.collection import newest_row
from flows.training.evaluation import ask
from flows.training.metrics import TITLES, shown
from flows.training.pipeline import predicted_by
from flows.training.sample import feature_matrix, sample_of
from flows.training.tasks import TASKS
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.names import LEARNED_THROUGH, MODEL_SHA256
from monitoring.contract.onnx.model import UnfitModelError
from monitoring.contract.reference import InvalidReferenceError, Reference, read_reference
from monitoring.contract.times import Micros

Say = Callable[[str], None]

_LONGEST_SOURCE = 400  # characters of it that MLflow takes


@dataclass(frozen=True)
class Registration:
    """A model that somebody brings, as it came and as ONNX, and the reference that is there.

    `has_seen_reference`: it has learned from the reference's rows, so that they do not tell how good it is.
    `learned_through` is the time of the newest logged row that it has learned from; None if nobody has said.
    """

    config: Config
    layout: Layout
    brought: Brought
    reference: Reference
    conversion: Conversion
    has_seen_reference: bool = False
    learned_through: Micros | None = None

    def renewed(self) -> "Registration":
        """Return it with the reference that is there now; raise InvalidReferenceError if there is none."""
        return replace(self, reference=_reference(self.config, self.layout))

    def is_version(self, version: str) -> bool:
        """Say whether a version holds this very model."""
        return tags_of(self.config.model.name, version).get(MODEL_SHA256) == digest_of(self.conversion.exported)

    def require_answers(self, rows: pa.Table) -> None:
        """Raise BroughtModelError if the model has no answer for some of the collected rows."""
        features = feature_matrix(rows, self.config.model)
        try:
            self.conversion.onnx.require_answers(features, "those that were collected")
        except UnfitModelError as error:
            raise BroughtModelError(f"{self.brought.source}: {error}. The champion stays") from error

    def register(self, tags: Mapping[str, str], metrics: Mapping[str, float]) -> Registered:
        """Register the model as a version that carries these tags, and where it is from."""
        learned = {} if self.learned_through is None else {LEARNED_THROUGH: str(self.learned_through)}
        found = {"conversion_difference": self.conversion.apart, **metrics}
        return register(
            self.conversion.exported,
            self.config.model,
            parameters={"source": self.brought.source[-_LONGEST_SOURCE:], "kind": self.conversion.kind},
            metrics={name: value for name, value in found.items() if value is not None and math.isfinite(value)},
            tags={
                **model_tags(self.config, self.conversion.onnx.classes),
                "origin": "register",
                "source": self.brought.source,
                **learned,
                **tags,
            },
        )


def prepare(
    config: Config,
    layout: Layout,
    source: str,
    say: Say,
    *,
    tolerance: float | None = None,
    has_seen_reference: bool = False,
    learned_through: Micros | None = None,
    pyfunc: bool = False,
) -> Registration:
    """Read a model and convert it, and say what was found.

    Raise BroughtModelError if it cannot be taken, InvalidReferenceError if there is no reference to hold it against.
    """
    reference = _reference(config, layout)
    brought, model = read_model(source, pyfunc=pyfunc), config.model
    labels = sample_of(reference.table, model).labels
    spread = float(np.std(labels)) if model.task == "regression" else 1.0
    conversion = convert_brought(brought, model, feature_matrix(reference.table, model), spread, tolerance)
    if not isinstance(conversion.exported, bytes) and conversion.apart is not None:
        conversion.exported.graph.name = model.name  # a converter draws one: the same model is to be the same file
    say(f"{brought.source}: {conversion.describe()}")
    for note in conversion.notes:
        say(f"note: {note}")
    return Registration(config, layout, brought, reference, conversion, has_seen_reference, learned_through)


def _reference(config: Config, layout: Layout) -> Reference:
    if not layout.reference.exists():
        raise absent_reference(config, layout)
    return read_reference(layout, config.model, predicted=False)


def absent_reference(config: Config, layout: Layout) -> InvalidReferenceError:
    """Return the error that says what to do about a reference that is not there."""
    return InvalidReferenceError(
        f"{layout.reference}: there is no reference, by which a model is measured and drift is told: put labelled rows "
        f"there (Parquet, with the features and {config.model.target}) that look like what the model was made for"
    )


def make_champion(of: Registration, say: Say, tags: Mapping[str, str] | None = None) -> Registered:
    """Make a model the first champion: register it, and publish it with the reference as it predicts it.

    How good it is, and how that goes with its confidence, is measured on the reference's labelled rows.
    """
    model, answering, table = of.config.model, of.conversion.onnx, of.reference.table
    answers = ask(answering, sample_of(table, model))
    scores = TASKS[model.task].score(answers).values
    performance = None if of.has_seen_reference else TASKS[model.task].performance(answers)
    registered = of.register(
        {"gate": "first", **(tags or {})}, {f"reference_{name}": value for name, value in scores.items()}
    )
    # rows that a former model has logged are no evidence about this one: the window starts after them
    through = newest_row(of.layout) or of.reference.through
    stage(
        of.layout,
        model,
        registered.version,
        predicted_by(answering, table, model),
        origin=of.reference.origin,
        through=through,
        performance=performance,
    )
    promote(model.name, registered.version, None)
    complete(of.layout, registered.version)
    told = ", ".join(f"{TITLES[name]} {shown(name, value)}" for name, value in scores.items())
    seen = "; it has learned from them, so that no accuracy is promised" if of.has_seen_reference else ""
    say(f"on the reference's {len(answers.labels)} labelled rows: {told}{seen}")
    return registered
