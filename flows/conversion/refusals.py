"""Steps that skl2onnx converts wrongly or not at all, refused with what to take in their place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from flows.conversion.errors import BroughtModelError
from flows.conversion.learned_columns import encoders
from monitoring.contract.onnx.names import listed


def require_convertible(content: Any, names: Sequence[str]) -> None:
    """Raise BroughtModelError for an estimator of these columns with such a step."""
    if isinstance(content, CalibratedClassifierCV) and isinstance(content.estimator, Pipeline):
        raise BroughtModelError(
            "CalibratedClassifierCV around a Pipeline is not converted: make it the Pipeline's last step, around its "
            "classifier"
        )
    for step, columns in encoders(content, names):
        if isinstance(step, OneHotEncoder):
            _require_plain(step, columns)


def _require_plain(encoder: OneHotEncoder, columns: Sequence[str]) -> None:
    if encoder.handle_unknown == "infrequent_if_exist":
        raise BroughtModelError(
            "OneHotEncoder(handle_unknown='infrequent_if_exist') is not converted: take handle_unknown='ignore'"
        )
    known = zip(columns, encoder.categories_, strict=False)
    if gaps := [name for name, levels in known if levels.dtype.kind == "f" and np.isnan(levels).any()]:
        raise BroughtModelError(
            f"OneHotEncoder has learned {listed(gaps)} as numbers of which some are missing, and that is not "
            "converted: fit it on texts ('4', and None where there is none)"
        )
