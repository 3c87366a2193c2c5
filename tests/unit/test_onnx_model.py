"""What a model must be: which are taken, what they answer, and what is said of those that are not."""

import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto

from monitoring.contract.onnx.classification import NO_ANSWER
from monitoring.contract.onnx.model import UnfitModelError, load_onnx
from tests.unit.own_models import FEATURES, Graph, converted, expected, named, per_column, regressor, rows_of, train
from tests.unit.own_models import wine_of as config_of

WINES = config_of("red", "white").model
NUMBERED = config_of("0", "1").model
CLASSES = ["red", "white"]
PAIR = ["N", 2]

NUMBERS, NAMES = train((0, 1)), train(("red", "white"))
PER_COLUMN, FRAME_PIPELINE = per_column()


@pytest.mark.parametrize("zipmap", [False, True, "columns"])
@pytest.mark.parametrize(
    ("pipeline", "model"), [pytest.param(NUMBERS, NUMBERED, id="numbers"), pytest.param(NAMES, WINES, id="names")]
)
def test_a_converted_model_is_taken_whatever_its_converter_calls_things(pipeline, model, zipmap) -> None:
    """Integer or text labels, a tensor, maps or columns of probabilities, without any metadata."""
    found = load_onnx(named(converted(pipeline, zipmap=zipmap)), model)
    rows = rows_of()
    labels, probabilities = found.predict(rows)
    assert found.features == model.features
    assert "not named in the file" in found.about["features"]
    assert labels.tolist() == [str(label) for label in pipeline.predict(rows)]
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(rows), atol=1e-5)


def test_integer_labels_take_the_categories_names_from_the_metadata() -> None:
    """In the order that it gives; the graph's numbers mean nothing then."""
    for zipmap in (False, True):
        found = load_onnx(named(converted(NUMBERS, zipmap=zipmap), classes=CLASSES, features=FEATURES), WINES)
        assert found.classes == ("red", "white")
        assert found.predict(rows_of())[0].tolist() == [CLASSES[label] for label in NUMBERS.predict(rows_of())]
    assert load_onnx(named(converted(NUMBERS), classes=[0, 1]), NUMBERED).classes == ("0", "1")
    maps = load_onnx(named(converted(NUMBERS, zipmap=True), classes=["1", "0"]), NUMBERED)
    assert maps.classes == ("1", "0")
    np.testing.assert_allclose(maps.probabilities(rows_of())[:, ::-1], NUMBERS.predict_proba(rows_of()), atol=1e-5)


def test_one_input_per_column_is_taken() -> None:
    """By the columns' names, and therefore in any order."""
    found = load_onnx(named(PER_COLUMN, features=FEATURES[::-1]), WINES)
    expected_labels = FRAME_PIPELINE.predict_proba(dict_frame(rows_of()))
    np.testing.assert_allclose(found.probabilities(rows_of()), expected_labels, atol=1e-5)


def dict_frame(rows):
    return pd.DataFrame(dict(zip(FEATURES, rows.T, strict=True)))


MIXED = dict(zip(FEATURES, [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL], strict=True))
WHOLE = np.array([[0.5, 1.25, 7, 1], [-0.5, 0.0, -2, 0], [0.0, 0.0, 40, 1]])


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("names", [FEATURES[::-1], [f"its.{name} (g/l)" for name in FEATURES]], ids=["own", "odd"])
def test_columns_of_several_types_and_shapes_are_taken(names, flat) -> None:
    """As (n, 1) or (n,), of whole numbers too; converters write `_` for what is neither a letter nor a digit."""
    written = names if "acidity" in names else [name.replace(".", "_").replace(" (g/l)", "__g_l_") for name in names]
    kinds = {name: MIXED[feature] for name, feature in zip(written, FEATURES, strict=True)}
    graph = Graph().columns(kinds, flat=flat).probabilities("p").out("p", PAIR)
    model = WINES.model_copy(update={"features": tuple(sorted(names, key=names.index))})
    found = load_onnx(named(graph.model(), classes=CLASSES), model)
    np.testing.assert_allclose(found.probabilities(WHOLE), expected(WHOLE), atol=1e-5)


def test_a_whole_number_input_has_no_answer_for_what_is_none() -> None:
    """Neither a missing value nor a fraction is cast to some number."""
    graph = Graph().columns(MIXED).probabilities("p").out("p", PAIR)
    found = load_onnx(named(graph.model(), classes=CLASSES), WINES)
    assert found.needs == tuple(FEATURES)
    rows = np.vstack([WHOLE, [[0, 0, 1.5, 0], [0, 0, np.nan, 0], [0, 0, 0, 2], [0, 0, 2.0**60, 1]]])
    labels, probabilities = found.predict(rows)
    assert labels[3:].tolist() == [NO_ANSWER] * 4
    assert np.isnan(probabilities[3:]).all()
    assert np.isfinite(probabilities[:3]).all()
    assert found.predict(rows[:0])[0].tolist() == []


def test_the_probabilities_are_found_among_other_outputs() -> None:
    """By their width and their sums, not by place or name; a binary model may give one column."""
    graph = Graph().tensor(TensorProto.DOUBLE).probabilities("answer")
    graph.out("scores", PAIR).out("rows", ["N", 4]).out("answer", PAIR)
    found = load_onnx(named(graph.model(), classes=CLASSES), WINES)
    assert found.about["probabilities"] == "answer"
    np.testing.assert_allclose(found.probabilities(rows_of()), expected(rows_of()), atol=1e-5)
    graph = Graph().tensor().probabilities()
    graph.constants["one"] = np.array([1], np.int64)
    graph.node("Gather", ["probabilities", "one"], "positive", axis=1)
    found = load_onnx(named(graph.out("positive", ["N", 1]).model(), classes=CLASSES), WINES)
    np.testing.assert_allclose(found.probabilities(rows_of()), expected(rows_of()), atol=1e-5)


def test_a_model_that_has_no_answer_for_missing_values_says_what_it_needs() -> None:
    """It is taken; rows that lack a value are no answers, and only they."""
    found = load_onnx(named(converted(NAMES), features=FEATURES, classes=CLASSES), WINES)
    assert found.needs == tuple(FEATURES)
    rows = rows_of(5)
    found.require_answers(rows, "the reference")
    rows[1, 2] = rows[3, 0] = np.nan
    assert found.predict(rows)[0].tolist()[1::2] == [NO_ANSWER] * 2
    assert np.isfinite(found.probabilities(rows)[::2]).all()
    assert found.missing_from([1.0, None, float("nan"), 2.0]) == ["sugar", "alcohol"]
    with pytest.raises(UnfitModelError, match="2 of 5 rows of the reference: it needs a value of acidity, alcohol"):
        found.require_answers(rows, "the reference")
    forest = load_onnx(named(converted(train(("red", "white"), forest=True))), WINES)
    assert forest.needs == ()
    forest.require_answers(rows, "the reference")


def squeezed() -> Graph:
    """Return a model that loses the dimension of the rows where there is one."""
    graph = Graph().tensor().probabilities()
    graph.node("Squeeze", ["probabilities"], "answer")
    return graph.out("answer", None)


STRANGE = dict.fromkeys("abcd", TensorProto.FLOAT)
TEN = config_of(*"abcdefghij").model
REFUSED = [
    pytest.param(b"", WINES, ["not a readable ONNX model"], id="empty"),
    pytest.param(b"features,label\n1,2\n", WINES, ["not a readable ONNX model"], id="text"),
    pytest.param(named(converted(NAMES))[:-40], WINES, ["not a readable ONNX model"], id="cut off"),
    pytest.param(
        named(converted(NUMBERS)),
        WINES,
        ["its classes are 0, 1; the config's categories are red, white; set its metadata `classes`"],
        id="integer labels for other categories",
    ),
    pytest.param(
        named(converted(NAMES), classes=["white", "red"]), WINES, ["its graph in the order red, white"], id="disorder"
    ),
    pytest.param(
        named(converted(NAMES, rows=1), features=FEATURES[:3], classes="red"),
        WINES,
        [
            "`classes` is not a JSON list of names",
            "takes 4 numbers a row, and its metadata names 3 features",
            "takes exactly 1 row(s) at a time",
            "its features are acidity, sugar, alcohol; the config's are",
        ],
        id="four things at once",
    ),
    pytest.param(
        named(regressor()),
        TEN,
        ["does not name its classes", "its output variable has the shape [1, 1] for 1 row(s)"],
        id="a regressor",
    ),
    pytest.param(
        named(Graph().tensor(TensorProto.STRING).probabilities().out("probabilities", PAIR).model(), classes=CLASSES),
        WINES,
        ["its input float_input is a tensor(string); one input of all features takes tensor(float) or tensor(double)"],
        id="text inputs",
    ),
    pytest.param(
        named(Graph().columns(STRANGE).probabilities().out("probabilities", PAIR).model(), classes=CLASSES),
        WINES,
        ["one input per feature, named as the feature; its inputs are a tensor(float) [?, 1]"],
        id="other columns",
    ),
    pytest.param(
        named(Graph().tensor().probabilities().out("scores", PAIR).model(), classes=CLASSES),
        WINES,
        ["its output scores gives numbers that are no probabilities"],
        id="scores",
    ),
    pytest.param(
        named(Graph().tensor().probabilities().out("probabilities", PAIR).model(), classes=["a", "b", "c"]),
        TEN,
        ["its output probabilities has the shape [1, 2] for 1 row(s), and 3 classes need [1, 3]"],
        id="fewer columns than classes",
    ),
    pytest.param(named(squeezed().model(), classes=CLASSES), WINES, ["has the shape [2] for 1 row(s)"], id="squeezed"),
    pytest.param(
        named(converted(NAMES), classes=["red", "red"]), WINES, ["`classes` names the same more than once"], id="twice"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("content", "model", "says"), REFUSED)
def test_all_that_is_wrong_is_told_at_once(content, model, says) -> None:
    """Each problem in words that say what to do; nothing else is complained about."""
    with pytest.raises(UnfitModelError) as raised:
        load_onnx(content, model)
    assert len(raised.value.problems) == len(says), raised.value.problems
    for part in says:
        assert any(part in problem for problem in raised.value.problems), raised.value.problems


def margin(weights: list[float], kind: str | None = None, **how: Any) -> bytes:
    """Return a model whose one column is the features times weights, after an operator or not."""
    graph = Graph().tensor()
    graph.constants["by"] = np.array(weights, np.float32).reshape(-1, 1)
    graph.node("MatMul", ["rows", "by"], "margin")
    if kind:
        graph.node(kind, ["margin"], "p", **how)
    return named(graph.out("p" if kind else "margin", ["N", 1]).model(), classes=CLASSES)


@pytest.mark.parametrize("weights", [[0.1] * 4, [0.1, -0.1, 0.1, -0.1], [0.001, 0, 0, 0], [-0.1, 0.2, -0.1, 0]])
def test_a_regression_or_a_margin_is_no_probability(weights) -> None:
    """Although it lies between 0 and 1 for small values; what keeps it there makes it one."""
    with pytest.raises(UnfitModelError, match="no probabilities") as raised:
        load_onnx(margin(weights), WINES)
    assert len(raised.value.problems) == 1
    assert load_onnx(margin(weights, "Sigmoid"), WINES).classes == ("red", "white")


def test_numbers_outside_0_to_1_are_no_answer() -> None:
    """A model that leaves 0 to 1 where nobody tried: the rows of a reference tell, and so does each request."""
    graph = Graph().tensor()
    graph.constants |= {
        "third": np.array([2], np.int64), "low": np.array(0, np.float32), "high": np.array(2, np.float32),
        "far": np.array(5, np.float32), "half": np.array(0.5, np.float32),
    }  # fmt: skip
    graph.node("Gather", ["rows", "third"], "value", axis=1)
    graph.node("Clip", ["value", "low", "high"], "clipped")
    graph.node("Less", ["value", "far"], "near")
    graph.node("Where", ["near", "clipped", "half"], "p")
    found = load_onnx(named(graph.out("p", ["N", 1]).model(), classes=CLASSES), WINES)
    rows = np.array([[0, 0, 0.25, 0], [0, 0, 1.5, 0], [0, 0, 1, 0], [0, 0, 9, 0]])
    labels, probabilities = found.predict(rows)
    assert labels.tolist() == ["red", NO_ANSWER, "white", "red"]
    np.testing.assert_allclose(probabilities[[0, 2, 3], 1], [0.25, 1, 0.5])
    with pytest.raises(UnfitModelError, match="1 of 4 rows of the reference: it gives them no numbers between 0 and 1"):
        found.require_answers(rows, "the reference")


def test_what_is_no_model_any_more_is_refused_and_raises_nothing_else() -> None:
    """Bytes are changed, lost and repeated: each file is a model that fits, or is refused."""
    chance = random.Random(5)
    whole = [named(converted(NUMBERS, zipmap=zipmap), classes=[0, 1], features=FEATURES) for zipmap in (False, True)]
    whole.append(named(converted(train((0, 1), forest=True)), classes=[0, 1]))
    outcomes = []
    for _ in range(300):
        content = bytearray(chance.choice(whole))
        place = chance.randrange(len(content))
        match chance.randrange(4):
            case 0:
                del content[place:]
            case 1:
                del content[place : place + chance.randrange(1, 20)]
            case 2:
                content[place:place] = content[place : place + chance.randrange(1, 20)]
            case _:
                for _ in range(chance.randrange(1, 6)):
                    content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            load_onnx(bytes(content), NUMBERED)
        except UnfitModelError:
            outcomes.append("refused")
        else:
            outcomes.append("taken")
    assert set(outcomes) == {"refused", "taken"}
