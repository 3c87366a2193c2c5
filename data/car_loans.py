"""Car loans, as rows for an example: those that NannyML ships for its tutorials.

They are drawn by its authors' program, not observed. They come inside the PyPI package nannyml, of which the rows alone
are needed: it is not installed, but fetched into `.local` when it is first asked for.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data.statistics import SampleDataError

PACKAGE, VERSION = "nannyml", "0.13.1"
SHA256 = "cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869"  # of its wheel
FOLDER = Path(__file__).parent.parent / ".local" / f"{PACKAGE}-{VERSION}"
REFERENCE_ROWS = 5000
SEED = 2018
LATER_ROWS = 25_000  # then the data change by themselves
FEATURES = (
    "car_value",
    "salary_range",
    "debt_to_income_ratio",
    "loan_length",
    "repaid_loan_on_prev_car",
    "size_of_downpayment",
    "driver_tenure",
)


def car_loans() -> tuple[pa.Table, pa.Table]:
    """Return a reference, and the loans that follow it, in the order in which they were granted.

    Raise SampleDataError if the package can neither be found nor fetched.
    """
    folder = _folder()
    rows, later, labels = (
        pyarrow.csv.read_csv(folder / f"synthetic_car_loan_{name}.csv")
        for name in ("reference", "analysis", "analysis_target")
    )
    few = np.random.default_rng(SEED).choice(len(rows), REFERENCE_ROWS, replace=False)
    labelled = later.append_column("repaid", labels["repaid"]).slice(0, LATER_ROWS)  # both are in the order of `id`
    columns = [*FEATURES, "repaid"]
    return rows.take(few).select(columns), labelled.select(columns)


def _folder() -> Path:
    """Return where the package's rows are, fetching it first if need be."""
    inside = Path("datasets/data")
    spec = find_spec(PACKAGE)
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / inside
    folder = FOLDER / PACKAGE / inside
    if not folder.is_dir():
        fetch = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(FOLDER)]
        wanted = f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}"
        command = [*fetch, "--require-hashes", "--requirements", "-"]
        done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False)
        if done.returncode:
            problem = f"the car loans come inside the package {PACKAGE} {VERSION}, which cannot be fetched"
            raise SampleDataError(f"{problem}: {done.stderr.strip()}")
    return folder
