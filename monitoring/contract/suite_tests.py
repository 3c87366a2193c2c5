"""The tests of Evidently's that `tests` in config.yml may name, but for those that need labels: `Task.label_tests`."""

from collections.abc import Mapping
from typing import Literal

from monitoring.contract.kinds import KindName

DataTest = Literal[
    "TestNumberOfColumnsWithMissingValues",
    "TestShareOfColumnsWithMissingValues",
    "TestNumberOfRowsWithMissingValues",
    "TestShareOfRowsWithMissingValues",
    "TestNumberOfMissingValues",
    "TestShareOfMissingValues",
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
    "TestColumnNumberOfMissingValues",
    "TestColumnShareOfMissingValues",
    "TestNumberOfOutRangeValues",
    "TestShareOfOutRangeValues",
    "TestNumberOfOutListValues",
    "TestShareOfOutListValues",
]
# tests of one feature, which `column` names, and of which kinds it may be; without it they are made for each of these
OF_COLUMN: Mapping[str, tuple[KindName, ...]] = {
    "TestColumnNumberOfMissingValues": ("numeric", "categorical"),
    "TestColumnShareOfMissingValues": ("numeric", "categorical"),
    "TestNumberOfOutRangeValues": ("numeric",),
    "TestShareOfOutRangeValues": ("numeric",),
    "TestNumberOfOutListValues": ("categorical",),
    "TestShareOfOutListValues": ("categorical",),
}
# tests of one category, which `category` names; without it they are made for each
OF_CATEGORY = ("TestPrecisionByClass", "TestRecallByClass", "TestF1ByClass")
# tests of the probabilities that labelled rows were answered with
OF_PROBABILITIES = ("TestRocAuc", "TestLogLoss")
UNCONDITIONAL = ("TestColumnsType", "TestColumnDrift")
