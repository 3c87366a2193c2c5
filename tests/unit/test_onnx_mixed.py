"""Models of mixed features and of numbers: which are taken, what they answer, and what is said of the others."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import LinearRegression

from monitoring.contract.config import Model
from monitoring.contract.onnx.decision import decide
from monitoring.contract.onnx.model import NO_ANSWER, OnnxModel, UnfitModelError, load_onnx
from monitoring.contract.onnx.trial_process import try_apart
from tests.unit.mixed import tips, trips
from tests.unit.mixed_models import (
    CATEGORICAL,
    NUMERIC,
    classifier,
    converted,
    fitted,
    frame,
    regressor,
    rows,
    two_matrices,
)
from tests.unit.own_models import FEATURES, Graph, named, rows_of, train, wine_of
from tests.unit.own_models import converted as one_tensor
from tests.unit.own_models import regressor as wine_regressor

TRIPS, TIPS = trips().model, tips().model
REGRESSOR, CLASSIFIER = regressor(), classifier()
TAKEN = named(converted(REGRESSOR))
WINES = wine_of("red", "white").model
NUMBERS = Model.model_validate(
    {"name": "wine", "task": "regression", "features": FEATURES, "prediction": "guess", "target": "truth"}
)


def load(content: onnx.ModelProto, model: Model = TRIPS, **metadata: Any) -> OnnxModel:
    return load_onnx(named(content, **metadata), model)


def refusal(content: bytes, model: Model) -> list[str]:
    with pytest.raises(UnfitModelError) as raised:
        load_onnx(content, model)
    return raised.value.problems


def test_a_pipeline_on_a_frame_answers_as_it_did() -> None:
    """One input per column, of numbers and texts; a missing level is the empty text, and an unseen one is answered."""
    table = frame(300, seed=5)
    table.loc[:3, "zone"] = ["", "a new one", "ŋ" * 100, "9"]
    found = load_onnx(TAKEN, TRIPS)
    predicted, probabilities = found.predict(rows(table, TRIPS.features))
    assert (predicted.dtype, probabilities.shape) == (np.float64, (300, 0))
    np.testing.assert_allclose(predicted, REGRESSOR.predict(table[NUMERIC + CATEGORICAL]), rtol=1e-5)
    assert found.about["levels"] == "zone, airport as text"
    labels, shares = load(converted(CLASSIFIER, zipmap=False), TIPS).predict(rows(table, TIPS.features))
    assert labels.tolist() == CLASSIFIER.predict(table[NUMERIC + CATEGORICAL]).tolist()
    np.testing.assert_allclose(shares, CLASSIFIER.predict_proba(table[NUMERIC + CATEGORICAL]), atol=1e-5)


def test_the_order_of_the_metadata_means_nothing_to_inputs_of_their_own() -> None:
    """As long as it names the config's features."""
    assert load(converted(REGRESSOR), features=[*CATEGORICAL, *NUMERIC]).features == TRIPS.features
    problems = refusal(named(converted(REGRESSOR), features=["zone", "distance"]), TRIPS)
    assert any("its features are zone, distance; the config's are" in problem for problem in problems)


def test_numbers_and_texts_in_a_tensor_each_are_taken() -> None:
    """Each kind in the config's order, whatever stands between; levels that are swapped are another order."""
    features = {"zone": "categorical", "distance": "numeric", "airport": "categorical", "passengers": "numeric"}
    model = Model.model_validate({**TRIPS.model_dump(exclude={"kinds", "features"}), "features": features})
    given = np.array([["station", 1.5, None, 2.0], [None, 3.0, "true", 1.0]], object)
    for metadata in ({}, {"features": list(features)}, {"features": [*NUMERIC, *CATEGORICAL]}):
        assert load(two_matrices(), model, **metadata).predict(given)[0].tolist() == [10.5, 5.0]
    with pytest.raises(UnfitModelError, match="its features are passengers, distance, zone, airport"):
        load(two_matrices(), model, features=[*NUMERIC[::-1], *CATEGORICAL])
    problems = refusal(named(two_matrices()), NUMBERS)
    assert any("takes 2 numbers a row, and the config has 4 numeric features" in problem for problem in problems)
    assert any("takes 2 texts a row, and the config has 0 categorical features" in problem for problem in problems)


def _coded(zones: list[int]) -> OnnxModel:
    table = frame(400, seed=1)
    table = table.assign(zone=np.resize(zones, len(table)))
    return load(converted(fitted(LinearRegression(), "minutes", table), table))


def test_whole_numbers_for_levels_have_no_answer_for_other_texts() -> None:
    """A model of numbered zones takes their texts; `07` is another level than 7, and no level is none."""
    found = _coded([4, 7, 250])
    assert found.needs == ("distance", "passengers", "zone")
    assert found.about["levels"] == "airport as text, and zone as whole numbers; another text has no answer"
    given = rows(frame(6, seed=2), TRIPS.features)
    given[:, 2] = ["4", "7", "99999", "07", "station", None]
    predicted, _ = found.predict(given)
    assert np.isfinite(predicted).tolist() == [True, True, True, False, False, False]
    assert found.predict(given[:2])[0][0] != found.predict(given[:2])[0][1]
    assert found.unheld_from(given[4].tolist()) == ["zone"]
    assert found.missing_from(given[5].tolist()) == ["zone"]
    with pytest.raises(UnfitModelError, match="2 of 5 rows of the log: it takes whole numbers alone of zone"):
        found.require_answers(given[:5], "the log")
    with pytest.raises(UnfitModelError, match="1 of 3 rows of the log: it needs a value of zone"):
        found.require_answers(given[[0, 1, 5]], "the log")


def test_one_tensor_of_numbers_takes_levels_that_are_whole_numbers() -> None:
    """As trees on numbered categories have them; a missing level is a missing number."""
    model = Model.model_validate(
        {**NUMBERS.model_dump(exclude={"features", "kinds"}), "features": dict.fromkeys(FEATURES, "categorical")}
    )
    constant = Graph().tensor()
    constant.constants["by"] = np.ones((4, 1), np.float32)
    constant.node("MatMul", ["rows", "by"], "sum")
    found = load_onnx(named(constant.out("sum", ["N", 1]).model()), model)
    given = np.array([["1", "2", "true", "0"], ["1", "2", "three", "0"], ["1", "2", str(2**24 + 1), "0"]], object)
    assert found.predict(given)[0].tolist()[0] == 4.0
    assert np.isnan(found.predict(given)[0][1:]).all()


def test_a_model_that_fails_on_a_new_level_is_refused_with_what_helps() -> None:
    """What OneHotEncoder does unless told otherwise; also where only a level that is no number is new to it."""
    for zones in (["station", "museum"], ["0", "1"]):
        table = frame(400, seed=1).assign(airport="true")
        table["zone"] = np.resize(zones, len(table))
        strict = converted(fitted(LinearRegression(), "minutes", table, handle_unknown="error"))
        (problem,) = refusal(named(strict), TRIPS)
        assert "it fails on 1 row(s) of 4 features" in problem
        assert "zone, airport are new to it, and what is new must have an answer, as with OneHotEncoder(" in problem


@pytest.mark.parametrize(
    ("content", "model", "says"),
    [
        pytest.param(named(converted(CLASSIFIER, zipmap=False)), TRIPS, "is a classifier of no, yes, and", id="maps"),
        pytest.param(named(one_tensor(train((0, 1)))), NUMBERS, "it is a classifier of 0, 1, and the", id="classifier"),
        pytest.param(
            named(one_tensor(train((0, 1)), zipmap="columns")), NUMBERS, "it is a classifier of 0, 1", id="columns"
        ),
        pytest.param(
            named(Graph().tensor().probabilities("p").out("p", ["N", 2]).model()),
            NUMBERS,
            "it has no output of one number a row, which is a float tensor (rows, 1) or (rows); its outputs are p",
            id="two numbers",
        ),
        pytest.param(named(wine_regressor()), WINES, "the config says that with `task: regression`", id="reverse"),
        pytest.param(named(wine_regressor(), classes=["red", "white"]), WINES, "with `task: regression`", id="named"),
    ],
)  # fmt: skip
def test_a_model_of_another_task_is_told_so(content: bytes, model: Model, says: str) -> None:
    """A classifier where a number is due, and the reverse."""
    problems = refusal(content, model)
    assert any(says in problem for problem in problems), problems


def test_a_regression_answers_numbers_as_they_are() -> None:
    """Float32 becomes float64; what is not finite is no answer, and nothing is bounded or rounded."""
    found = load_onnx(named(wine_regressor()), NUMBERS)
    predicted, probabilities = found.predict(rows_of(5))
    assert (predicted.dtype, probabilities.shape, found.classes) == (np.float64, (5, 0), ())
    given = rows_of(5).astype(np.float64)
    given[1, 2], given[3, 0] = np.nan, 1e300
    predicted, _ = found.predict(given)
    assert np.isfinite(predicted).tolist() == [True, False, True, False, True]
    assert found.answered(predicted).tolist() == [True, False, True, False, True]
    assert found.needs == tuple(FEATURES)
    assert found.predict(given[:0])[0].shape == (0,)
    with pytest.raises(UnfitModelError, match="2 of 5 rows of the reference: it needs a value of alcohol"):
        found.require_answers(given, "the reference")


def test_the_answer_is_found_by_its_name_among_several() -> None:
    """Of two outputs of one number a row the one that is called as the prediction counts; else both are named."""
    graph = Graph().tensor()
    graph.constants["by"] = np.ones((4, 1), np.float32)
    graph.node("MatMul", ["rows", "by"], "sum")
    graph.node("Neg", ["sum"], "guess")
    both = graph.out("sum", ["N", 1]).out("guess", ["N", 1]).model()
    assert load_onnx(named(both), NUMBERS).predict(np.ones((1, 4)))[0].tolist() == [-4.0]
    (problem,) = refusal(named(both), NUMBERS.model_copy(update={"prediction": "answer"}))
    assert "its outputs sum, guess all hold one number a row" in problem
    assert "leave the others out, or name it answer" in problem


def test_a_threshold_decides_for_the_positive_class() -> None:
    """From its share on, to the last digit that is answered; where the model knows one class it is that one."""
    cut = TIPS.model_copy(update={"positive": "yes", "threshold": 0.25})
    shares = np.array([[0.75, 0.25], [0.750001, 0.249999], [0.1, 0.9], [0.76, 0.24]])
    assert decide(shares, ("no", "yes"), cut).tolist() == [1, 0, 1, 0]
    assert decide(shares[:, ::-1], ("yes", "no"), cut).tolist() == [0, 1, 0, 1]
    assert decide(shares, ("no", "yes"), TIPS).tolist() == [0, 0, 1, 0]
    assert decide(np.ones((2, 1)), ("no",), cut).tolist() == [0, 0]
    given = rows(frame(300, seed=5), TIPS.features)
    found = load(converted(CLASSIFIER, zipmap=False), cut)
    labels, probabilities = found.predict(given)
    assert labels.tolist() == np.where(probabilities[:, 1] >= 0.25, "yes", "no").tolist()
    assert (labels == "yes").sum() > (load(converted(CLASSIFIER, zipmap=False), TIPS).predict(given)[0] == "yes").sum()
    assert found.about["answers"] == "yes where its probability is 0.25 or more"
    given[0, 0] = np.nan
    assert found.predict(given)[0][0] == NO_ANSWER


def test_a_mixed_model_is_tried_in_a_process_of_its_own() -> None:
    """With what is wrong with it as here."""
    try_apart(TAKEN, TRIPS)
    with pytest.raises(UnfitModelError, match="it is a classifier of no, yes"):
        try_apart(named(converted(CLASSIFIER, zipmap=False)), TRIPS)


def test_an_answer_that_is_not_finite_for_zeros_is_refused() -> None:
    """A model that gives NaN for levels that are new to it has no answer for what is new."""
    graph = two_matrices().graph
    for node in graph.node:
        if node.op_type == "LabelEncoder":
            node.CopyFrom(
                helper.make_node(
                    "LabelEncoder", ["texts"], ["codes"], domain="ai.onnx.ml",
                    keys_strings=["station"], values_floats=[1.0], default_float=float("nan"),
                )
            )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    (problem,) = refusal(named(helper.make_model(graph, opset_imports=opsets, ir_version=9)), TRIPS)
    assert "its output minutes gives no finite number for a row of zeros; the levels that are tried of zone" in problem


def test_texts_are_no_numbers() -> None:
    """A tensor of texts for numbers, and a tensor of texts alone for both kinds, are named."""
    inputs = [helper.make_tensor_value_info("X", TensorProto.STRING, ["N", 4])]
    nodes = [helper.make_node("Shape", ["X"], ["shape"]), helper.make_node("Cast", ["shape"], ["p"], to=1)]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("p", 1, None)])
    content = named(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    (problem,) = refusal(content, TRIPS)
    assert "its input X is a tensor(string); one input of all features takes tensor(float) or tensor(double)" in problem
    names = dict.fromkeys(TRIPS.features, TensorProto.STRING)
    content = named(Graph().columns(names).probabilities("p").out("p", ["N", 2]).model())
    problems = refusal(content, TRIPS)
    assert any("distance is a tensor(string); an input of one feature takes tensor(float)" in one for one in problems)
    assert not any("zone is a tensor(string)" in one for one in problems)
