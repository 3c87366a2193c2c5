"""NannyML's univariate drift: chunks of the stream, and a constant threshold on the statistic of every column."""

import os
import warnings
from collections.abc import Callable
from functools import lru_cache, partial

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import numpy as np
import pandas as pd
from nannyml.thresholds import ConstantThreshold

from benchmarks.alarms.rows import Floats, Rows
from benchmarks.alarms.watches import Numbers, Peer, ScoredWatch, Variant, ends

warnings.filterwarnings("ignore", message="The resulting number of chunks is too low")
METHODS = {"kolmogorov_smirnov": "l_infinity", "jensen_shannon": "jensen_shannon"}  # of the features, the prediction


def frame(rows: Rows) -> pd.DataFrame:
    """Return the columns that are watched: features, the number of missing cells, and the prediction."""
    columns = {f"feature_{n}": column.astype(np.float64) for n, column in enumerate(rows.features.T)}
    missing = np.isnan(rows.features).sum(axis=1).astype(np.float64)
    return pd.DataFrame({**columns, "missing": missing, "prediction": [f"category_{n}" for n in rows.predictions]})


@lru_cache(maxsize=1)
def fitted(method: str, size: int, reference: Rows) -> nannyml.UnivariateDriftCalculator:
    """Return a calculator that knows the reference."""
    methods = method, METHODS[method]
    known = frame(reference)
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(known.columns),
        treat_as_categorical=["prediction"],
        continuous_methods=[methods[0]],
        categorical_methods=[methods[1]],
        chunk_size=size,
        thresholds={name: ConstantThreshold(upper=1) for name in methods},
    )
    return calculator.fit(known)


def watching(method: str, size: int, reference: Rows, rows: Rows) -> ScoredWatch:
    """Watch by the largest statistic of any column."""

    def scores(_: int, begin: int, end: int) -> tuple[Numbers, Floats]:
        places = ends(rows, size, begin, end)
        if not places.size:
            return places, np.empty(0)
        result = fitted(method, size, reference).calculate(frame(rows[int(places[0]) - size : int(places[-1])]))
        found = result.filter(period="analysis").to_df().xs("value", axis=1, level=2)
        return places, found.to_numpy(dtype=np.float64).max(axis=1)

    return ScoredWatch(len(rows), scores, block=2_000)


def _variant(method: str, size: int, start: float) -> Variant:
    watch: Callable[[Rows, Rows], ScoredWatch] = partial(watching, method, size)
    return Variant(f"{method} above {{0:.3f}}, chunks of {size:,} rows", watch, start, start / 5)


# The method, the chunks' size and where the tuning begins.
_VARIANTS = (
    ("kolmogorov_smirnov", 200, 0.15),
    ("jensen_shannon", 100, 0.26),
    ("jensen_shannon", 200, 0.195),
    ("jensen_shannon", 500, 0.135),
)
PEER = Peer(
    "nannyml",
    "NannyML, univariate drift",
    tuple(_variant(*one) for one in _VARIANTS),
    streams=50,
    runs=30,
)
