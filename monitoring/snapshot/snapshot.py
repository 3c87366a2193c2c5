"""What one look at the window found: plain frozen data, from which metrics, page and report are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from monitoring.alarms.accuracy import AccuracyVerdict
from monitoring.alarms.accuracy_estimate import Estimate
from monitoring.alarms.drift.drift_watch import DriftVerdict
from monitoring.alarms.loss import LossVerdict
from monitoring.alarms.loss_estimate import LossEstimate
from monitoring.alarms.trial_watch import TrialVerdict
from monitoring.contract.kinds import KindName
from monitoring.snapshot.segments import Segments

Status = Literal["success", "warning", "fail", "error", "skipped"]
STATUSES: tuple[Status, ...] = ("success", "warning", "fail", "error", "skipped")
# tests whose outcome is that of p-values, each looked at by itself
COLUMN_TEST = "TestColumnDrift"
TABLE_TESTS = ("TestNumberOfDriftedColumns", "TestShareOfDriftedColumns")


@dataclass(frozen=True)
class Verdict:
    """One test of the suite: how it ended and what was found, in words; of one that was skipped, why."""

    test: str
    status: Status
    found: str

    @property
    def passed(self) -> bool:
        """Return whether the test found nothing wrong."""
        return self.status in ("success", "warning")

    @property
    def failed(self) -> bool:
        """Return whether the test failed or broke off; one that was skipped has neither passed nor failed."""
        return self.status in ("fail", "error")

    @property
    def skipped(self) -> bool:
        """Return whether there was nothing to run the test on."""
        return self.status == "skipped"

    @property
    def counts(self) -> bool:
        """Return whether a failure speaks against the model by itself; a single p-value below its threshold does not.

        A test that broke off does: nobody knows what it would have found.
        """
        return self.status == "error" or not self.test.startswith((COLUMN_TEST, *TABLE_TESTS))


@dataclass(frozen=True)
class ColumnDrift:
    """A drift test's outcome at full precision: a p-value or a distance; a column that cannot be judged has neither."""

    column: str
    method: str
    threshold: float
    p_value: float | None
    drifted: bool
    distance: float | None = None

    def remains(self, columns: int) -> bool:
        """Return whether drift remains if so many columns are looked at: a p-value is adjusted, a distance is not."""
        if self.p_value is None:
            return self.drifted
        return self.p_value * columns < self.threshold


@dataclass(frozen=True)
class Bin:
    """A range or a level of a column's values, and the shares of the values that tests look at in it."""

    name: str
    reference: float
    current: float | None


@dataclass(frozen=True)
class Shape:
    """How a feature's values differ from the reference's, as far as it means something for its kind.

    `effect_size` is of numbers the mean's shift in the reference's standard deviations, of levels the total variation
    distance.
    """

    ks_statistic: float | None = None
    effect_size: float | None = None
    outliers: int | None = None
    bins: tuple[Bin, ...] = ()


@dataclass(frozen=True)
class FeatureDrift:
    """A feature in the window, held against the reference."""

    drift: ColumnDrift
    adjusted_p_value: float | None
    ks_statistic: float | None
    effect_size: float | None
    outliers: int | None
    bins: tuple[Bin, ...]
    kind: KindName = "numeric"

    @property
    def adjusted_drift(self) -> bool:
        """Return whether drift remains after adjusting for the number of features looked at; a distance needs none."""
        if self.drift.distance is not None:
            return self.drift.drifted
        return self.adjusted_p_value is not None and self.adjusted_p_value < self.drift.threshold


@dataclass(frozen=True)
class CorrelationShift:
    """By how much two features' Pearson correlation differs from the reference's; only the largest few are kept."""

    feature_a: str
    feature_b: str
    shift: float


@dataclass(frozen=True)
class Quality:
    """Counts over the window's features and predictions.

    Duplicates, and with them the score, are None where nobody looked for them; so is the score of an empty window.
    `missing_shares` are the shares of missing values, by feature; `unseen_categories` how many values of each
    categorical feature the reference does not hold, `out_of_range` how many of each numeric one lie outside its range.
    """

    missing_values: int
    duplicated_rows: int | None
    constant_columns: int
    column_type_mismatches: int
    score: float | None
    missing_shares: Mapping[str, float]
    unseen_categories: Mapping[str, int] = field(default_factory=dict)
    out_of_range: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerRange:
    """The labelled rows whose prediction lies in a range: how many, and the means of predictions and labels.

    None where there is no row.
    """

    name: str
    rows: int
    predicted: float | None
    actual: float | None
    reference_predicted: float | None
    reference_actual: float | None


@dataclass(frozen=True)
class ErrorShape:
    """How a regression's errors are spread, beside those of the reference, and what comes of each range of answers."""

    bins: tuple[Bin, ...]
    ranges: tuple[AnswerRange, ...]


@dataclass(frozen=True)
class Errors:
    """A regression's errors on the window's labelled rows, which are predictions less labels."""

    mean_absolute: float
    root_mean_squared: float
    mean: float
    largest: float
    r2: float | None
    shape: ErrorShape


@dataclass(frozen=True)
class ProbabilityScores:
    """What a classification's probabilities are worth on the window's labelled rows.

    The area under the ROC curve is None where a category is absent from them.
    """

    log_loss: float
    roc_auc: float | None


@dataclass(frozen=True)
class Assessment:
    """What takes enough rows to be said; accuracy, F1 and errors take enough labels too."""

    verdicts: tuple[Verdict, ...]
    features: tuple[FeatureDrift, ...]
    prediction: ColumnDrift | None
    correlation_shifts: tuple[CorrelationShift, ...]
    accuracy: float | None
    f1: float | None
    errors: Errors | None = None
    probabilities: ProbabilityScores | None = None

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """Return the tests that failed."""
        return tuple(v for v in self.verdicts if v.failed)

    @property
    def skipped(self) -> tuple[Verdict, ...]:
        """Return the tests that there was nothing to run on."""
        return tuple(v for v in self.verdicts if v.skipped)

    @property
    def drifted_features(self) -> int:
        """Return how many features their own drift test calls drifted."""
        return sum(f.drift.drifted for f in self.features)

    @property
    def tested_features(self) -> int:
        """Return how many features their own drift test could judge."""
        return sum(f.drift.p_value is not None or f.drift.distance is not None for f in self.features)

    @property
    def drift_remains(self) -> bool:
        """Return whether drift remains after adjusting for the number of columns.

        The features' p-values are adjusted together (Benjamini-Hochberg), the prediction's by Bonferroni's factor.
        """
        mixed = self.prediction is not None and self.prediction.remains(len(self.features) + 1)
        return mixed or any(f.adjusted_drift for f in self.features)


@dataclass(frozen=True)
class Origin:
    """Where the reference comes from; rows until `through` are not held against it, None if it is not of the log."""

    origin: str
    model_version: str | None
    digest: str
    through: datetime | None = None


@dataclass(frozen=True)
class Snapshot:
    """One look at the window; `assessment` is None while the window has too few rows.

    `drift` and `accuracy` are what the sequential tests say, None where they do not run; `estimate` is the accuracy as
    the window's confidences tell it. `label` names what `predictions` are shares of: categories, or of a regression
    `bin`, ranges of the reference's predictions.
    """

    feature_prefix: str
    label: str
    taken_at: datetime
    rows: int
    minimum_rows: int
    first: datetime | None
    last: datetime | None
    labelled_rows: int
    quality: Quality
    predictions: Mapping[str, float]
    confidence: Mapping[str, float]
    reference_rows: int
    reference_predictions: Mapping[str, float]
    reference_missing_shares: Mapping[str, float]
    missing_p_values: Mapping[str, float]
    reference_origin: Origin | None
    assessment: Assessment | None
    drift: DriftVerdict | None = None
    accuracy: AccuracyVerdict | None = None
    estimate: Estimate | None = None
    loss_estimate: LossEstimate | None = None
    loss: LossVerdict | None = None  # what the test of a regression says, in accuracy's stead
    segments: Segments | None = None  # none without `model.segments`, and while the window has too few rows
    trial: TrialVerdict | None = None  # of the challenger, while one is on trial

    @property
    def reference_ahead(self) -> float:
        """Return for how many more seconds the clock shows a time until which no row is held against the reference."""
        through = self.reference_origin.through if self.reference_origin else None
        return max(0.0, (through - self.taken_at).total_seconds()) if through else 0.0

    @property
    def drifted(self) -> bool:
        """Return whether the data have drifted.

        The calibrated alarm says so; where it does not run, or is not calibrated yet, what remains of the p-values
        after adjusting.
        """
        if self.drift is not None and self.drift.detector is not None:
            return self.drift.alarm is not None
        return self.assessment is not None and self.assessment.drift_remains

    @property
    def verdict(self) -> Literal["waiting", "passing", "failing"]:
        """Return the overall verdict in a word: drift, a fallen accuracy, larger errors and each other test count."""
        if self.assessment is None:
            return "waiting"
        harm = any(test is not None and test.detected for test in (self.accuracy, self.loss))
        wrong = self.drifted or harm or any(v.counts for v in self.assessment.failed)
        return "failing" if wrong else "passing"
