"""The kinds that a feature can be of: what a value is, how files hold it, and which drift tests compare it.

One class says it for each kind, and everything else asks `Model.kind`. What a room computes by kind stands in one class
per kind there, under the same names: a third kind would be one more class in each.
"""

from collections.abc import Iterator
from typing import Literal, Protocol, get_args

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.values import narrower

KindName = Literal["numeric", "categorical"]
NumericDriftTest = Literal["ks", "mannw", "t_test", "cramer_von_mises", "anderson"]
CategoricalDriftTest = Literal[
    "chi_square_two_sample", "chisquare", "z", "psi", "jensenshannon", "total_variation", "TVD"
]
# the tests that measure a distance: drift is a value from the threshold on, and there is no p-value
DISTANCES = ("psi", "jensenshannon", "total_variation")

MOST_LEVELS = 10_000  # of a categorical feature's reference: a column with more is an id, or a number
LONGEST_LEVEL = 128  # characters


class Kind(Protocol):
    """What depends on a feature's kind in the files and the config."""

    name: KindName
    drift_tests: tuple[str, ...]  # by name in config.yml

    def logged_as(self, number: pa.DataType) -> pa.DataType:
        """Return the type of such a column in the log, where numbers have the type `number`."""

    def compared_as(self, given: pa.DataType, number: pa.DataType) -> pa.DataType:
        """Return the type in which values stored as `given` are compared with the log's."""

    def flaws(self, column: pa.ChunkedArray) -> Iterator[str]:
        """Yield what no reference's column may hold."""


class Numeric:
    """Numbers: whole ones, fractions, true as 1 and false as 0."""

    name: KindName = "numeric"
    drift_tests: tuple[str, ...] = get_args(NumericDriftTest)

    def logged_as(self, number: pa.DataType) -> pa.DataType:
        """Return the log's type of numbers."""
        return number

    def compared_as(self, given: pa.DataType, number: pa.DataType) -> pa.DataType:
        """Return the floating type of fewer bits."""
        return narrower(given, number)

    def flaws(self, column: pa.ChunkedArray) -> Iterator[str]:
        """Yield that values are infinite."""
        if pc.any(pc.is_inf(column)).as_py():
            yield "holds infinite values"


class Categorical:
    """Levels: text, whole numbers and true or false, compared as text; any number of them, known by the reference."""

    name: KindName = "categorical"
    drift_tests: tuple[str, ...] = get_args(CategoricalDriftTest)

    def logged_as(self, number: pa.DataType) -> pa.DataType:  # noqa: ARG002 - a number's type is nothing to it
        """Return text."""
        return pa.string()

    def compared_as(self, given: pa.DataType, number: pa.DataType) -> pa.DataType:  # noqa: ARG002
        """Return text."""
        return pa.string()

    def flaws(self, column: pa.ChunkedArray) -> Iterator[str]:
        """Yield that levels are empty, too long, or so many that they are none."""
        levels = column.unique().drop_null()
        if pc.any(pc.equal(levels, "")).as_py():
            yield "holds empty texts; write null where there is no value"
        if pc.any(pc.greater(pc.utf8_length(levels), LONGEST_LEVEL)).as_py():
            yield f"holds texts of more than {LONGEST_LEVEL} characters, which are no levels of a category"
        if len(levels) > MOST_LEVELS:
            yield (
                f"holds {len(levels):,} distinct values, and a categorical feature has {MOST_LEVELS:,} at most: leave "
                "ids out, declare numbers numeric, or group rare levels before they are logged"
            )


KINDS: dict[KindName, Kind] = {"numeric": Numeric(), "categorical": Categorical()}
