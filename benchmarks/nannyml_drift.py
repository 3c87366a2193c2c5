"""NannyML's univariate drift of one chunk, in an environment of its own: see monitor_suite.py, which runs this."""

import json
import os
import resource
import sys
import time
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import pandas as pd

folder, rows = Path(sys.argv[1]), sys.argv[2]
reference = pd.read_parquet(folder / rows / "reference.parquet")
features = [name for name in reference.columns if pd.api.types.is_float_dtype(reference[name])]
prediction = next(name for name in reference.columns if name.startswith("predicted"))


def run(path: Path) -> None:
    current = pd.read_parquet(path)[[*features, prediction]]
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=[*features, prediction],
        treat_as_categorical=[prediction],
        continuous_methods=["kolmogorov_smirnov"],
        categorical_methods=["chi2"],
        chunk_number=1,
    )
    calculator.fit(reference)
    calculator.calculate(current).to_df()


run(folder / "1000" / "current.parquet")
seconds = []
while len(seconds) < 5 and sum(seconds) < 5:  # noqa: PLR2004
    begun = time.perf_counter()
    run(folder / rows / "current.parquet")
    seconds.append(time.perf_counter() - begun)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"seconds": min(seconds), "megabytes": peak}))
