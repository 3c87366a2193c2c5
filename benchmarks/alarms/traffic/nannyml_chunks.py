"""NannyML's univariate drift, chunk by chunk, with its rule: deviations of the reference's chunks above their mean."""

import warnings
from typing import Any

import nannyml
import numpy as np
import pandas as pd
from nannyml.thresholds import ConstantThreshold

from benchmarks.alarms.traffic.peers import DAY, THOUSAND, Ends, Floats, Scored, Scores
from benchmarks.alarms.traffic.streams import Stream

warnings.filterwarnings("ignore")


def chunks(*, by_day: bool) -> Scores:
    """Score chunks by how many standard deviations of the reference's chunks the worst column is above their mean."""
    kept: dict[int, Any] = {}

    def frame(rows: Stream) -> Any:
        columns = {f"feature_{n}": column for n, column in enumerate(rows.features.T)}
        return pd.DataFrame({**columns, "prediction": [f"category_{p}" for p in rows.predictions]})

    def fitted(reference: Stream, size: int) -> Any:
        key = id(reference)
        if key not in kept:
            kept.clear()
            given = frame(reference)
            calculator = nannyml.UnivariateDriftCalculator(
                column_names=list(given.columns),
                treat_as_categorical=["prediction"],
                continuous_methods=["jensen_shannon"],
                categorical_methods=["jensen_shannon"],
                chunk_size=size,
                thresholds={"jensen_shannon": ConstantThreshold(upper=1)},
            ).fit(given)
            usual = _values(calculator.result, "reference")
            kept[key] = reference, calculator, usual.mean(0), usual.std(0)
        return kept[key][1:]

    def _values(result: Any, period: str) -> Floats:
        found = result.filter(period=period).to_df().xs("value", axis=1, level=2)
        return np.asarray(found.to_numpy(dtype=np.float64))

    def scores(reference: Stream, log: Stream, since: int) -> tuple[Ends, Floats]:
        size = THOUSAND
        if by_day:
            size = round(len(reference) / (float(reference.times[-1] - reference.times[0]) / DAY))
        calculator, mean, deviation = fitted(reference, size)
        first = since // size * size
        number = (len(log) - first) // size
        ends = first + size * np.arange(1, number + 1)
        if not number:
            return ends, np.zeros(0)
        result = calculator.calculate(frame(log.take(slice(first, int(ends[-1])))))
        return ends, ((_values(result, "analysis") - mean) / deviation).max(1)

    return scores


BY_DAY = Scored(chunks(by_day=True))
BY_ROWS = Scored(chunks(by_day=False))
