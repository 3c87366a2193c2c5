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
    "TestValueRange",
    "TestValueList",
    "TestColumnValueMin",
    "TestColumnValueMax",
    "TestColumnValueMean",
    "TestColumnValueMedian",
    "TestColumnValueStd",
    "TestColumnQuantile",
    "TestMeanInNSigmas",
    "TestNumberOfUniqueValues",
    "TestUniqueValuesShare",
    "TestMostCommonValueShare",
]
# tests of one feature, which `column` names, and of which kinds it may be; without it they are made for each of these
OF_COLUMN: Mapping[str, tuple[KindName, ...]] = {
    "TestColumnNumberOfMissingValues": ("numeric", "categorical"),
    "TestColumnShareOfMissingValues": ("numeric", "categorical"),
    "TestNumberOfOutRangeValues": ("numeric",),
    "TestShareOfOutRangeValues": ("numeric",),
    "TestNumberOfOutListValues": ("categorical",),
    "TestShareOfOutListValues": ("categorical",),
    "TestValueRange": ("numeric",),
    "TestValueList": ("categorical",),
    "TestColumnValueMin": ("numeric",),
    "TestColumnValueMax": ("numeric",),
    "TestColumnValueMean": ("numeric",),
    "TestColumnValueMedian": ("numeric",),
    "TestColumnValueStd": ("numeric",),
    "TestColumnQuantile": ("numeric",),
    "TestMeanInNSigmas": ("numeric",),
    "TestNumberOfUniqueValues": ("categorical",),  # of numbers no profile knows how many differ
    "TestUniqueValuesShare": ("categorical",),
    "TestMostCommonValueShare": ("categorical",),
}
# what tests of one feature take beside a condition
RANGE_TESTS = ("TestNumberOfOutRangeValues", "TestShareOfOutRangeValues", "TestValueRange")
LIST_TESTS = ("TestNumberOfOutListValues", "TestShareOfOutListValues", "TestValueList")
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "left": RANGE_TESTS,
    "right": RANGE_TESTS,
    "values": LIST_TESTS,
    "quantile": ("TestColumnQuantile",),
    "n_sigmas": ("TestMeanInNSigmas",),
}
# tests of a quantile: profiles tell on which side of a bound it lies, if they are told the bound
QUANTILE_TESTS = ("TestColumnQuantile", "TestColumnValueMedian")
# tests of one category, which `category` names; without it they are made for each
OF_CATEGORY = ("TestPrecisionByClass", "TestRecallByClass", "TestF1ByClass")
# tests of the probabilities that labelled rows were answered with
OF_PROBABILITIES = ("TestRocAuc", "TestLogLoss")
UNCONDITIONAL = ("TestColumnsType", "TestColumnDrift", "TestMeanInNSigmas", "TestValueRange", "TestValueList")
