"""What YAML takes in silence is refused with its place, and no text whatever brings more than a readable refusal."""

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from tests.processes import ROOT
from tests.unit.taxi import CONFIG

SHIPPED = (ROOT / "monitoring/config.yml").read_text()
TAXI = CONFIG.replace("threshold: 0.001", "threshold: 0.05").replace(
    "  - TestColumnDrift\n",
    "  - TestColumnsType\n  - TestNumberOfDriftedColumns: {lt: 1}\n  - TestColumnDrift\n",
)
# what YAML makes more of than it looks, and what breaks parsers
FRAGMENTS = [
    "drift: {default: {test: t_test, threshold: 0.5}}\n", "&a ", "*a", "<<: *a\n", "&a [*a]", "? [a, b]\n: c\n", "\t",
    "---\n", "...\n", "!!python/object/apply:os.system ['true']", "!!binary aGk=", "!!set {a, b}", "!!int x",
    "!!float ''", "!!timestamp x", "!<tag:yaml.org,2002:bool> maybe", "2026-13-45", "2026-01-01", "0x" + "f" * 99,
    "1:" * 40 + "1", "9" * 400, "010", "-0", "=", "<<", "~", "null", ".nan", "-.inf", "yes", "on: 1\n", "true", "\0",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), '"\\ud800"', "\u2028", "\x85", "[" * 30, "{" * 30,
    "- " * 30, "|\n", ">-\n ", "'", '"', ": ", "# ", "%YAML 9.9\n", "@", "`", "1: a\n1.0: b\n", "é\ufeff", "%",
]  # fmt: skip


def _refusal(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "config.yml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return str(caught.value)


def _line_of(text: str, start: str, nth: int = 0) -> int:
    return [number for number, line in enumerate(text.splitlines(), 1) if line.startswith(start)][nth]


def test_a_section_that_stands_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    """The last one would win in silence."""
    text = TAXI + "drift:\n  default: {test: t_test, threshold: 0.5}\n"
    first, second = _line_of(text, "drift:"), _line_of(text, "drift:", 1)
    assert _refusal(tmp_path, text).endswith(f"config.yml: drift: stands at line {first} and line {second}")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param(
            "threshold: 0.05}", "threshold: 0.05, threshold: 0.5}", "drift.default.threshold: stands", id="deep"
        ),
        pytest.param("{lt: 1}", "{lt: 1, lt: 2}", "tests.2.TestNumberOfDriftedColumns.lt: stands", id="in-a-list"),
        pytest.param("rows: 1000", '"rows": 9, rows: 1000', "window.rows: stands", id="quoted-and-not"),
        pytest.param("metrics:", "1: a\n1.0: b\nmetrics:", "1.0: stands at line 8 and line 9", id="equal-as-numbers"),
        pytest.param("metrics:", "true: a\n1: b\nmetrics:", "1: stands at line 8 and line 9", id="equal-as-truth"),
        pytest.param("window: {", "window: {<<: {rows: 5}, <<: {rows: 6}, ", "window.<<: stands", id="merge-twice"),
        pytest.param(
            '["no", "yes"]', "[no, yes]", "model.categories.0: line 7: YAML reads a bare no as a bool", id="bare-no"
        ),
        pytest.param(
            "metrics:", "on: 1\nmetrics:", "a key: line 8: YAML reads a bare on as a bool", id="bare-on-as-a-key"
        ),
        pytest.param('["no", "yes"]', "[010, 20]", "line 7: YAML reads 010 as 8: quote it", id="octal"),
        pytest.param('["no", "yes"]', "[1:30, 20]", "line 7: YAML reads 1:30 as 90: quote it", id="minutes"),
        pytest.param("rows: 1000", "rows: 0x" + "f" * 200, "a number of 202 characters; 100 are read", id="endless"),
        pytest.param("rows: 1000", "rows: !!python/object:os.x {}", "the tag 'tag:yaml.org,2002:python", id="python"),
        pytest.param("rows: 1000", "rows: !!int '1'", "the tag 'tag:yaml.org,2002:int'", id="tag"),
        pytest.param("rows: 1000", "[a]: 1000", "line 9: a key is text", id="key-of-a-list"),
        pytest.param(
            "rows: 1000", "rows: &a [*a]", "line 9: an alias stands for a value that holds", id="endless-alias"
        ),
        pytest.param("rows: 1000", "rows: 2026-02-30", "a value that cannot be read: day", id="no-date"),
        pytest.param("rows: 1000", "rows: " + "[" * 5000, "lie too deep in one another", id="deep-lists"),
        pytest.param("name: taxi", "name: \0", "is not YAML", id="nul"),
        pytest.param("name: taxi", 'name: "\\0"', "model.name = ", id="nul-escaped"),
        pytest.param("label: tip", 'label: "\\uD800"', r"model.label = '\ud800'", id="half-a-character"),
        pytest.param("metrics:", "---\nmetrics:", "expected a single document", id="two-documents"),
    ],
)
def test_what_yaml_takes_in_silence_is_refused_with_its_place(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    """The key that is meant, and its lines, stand in the message."""
    assert before in TAXI
    assert told in _refusal(tmp_path, TAXI.replace(before, after))


def test_a_few_lines_that_stand_for_a_billion_values_are_refused(tmp_path: Path) -> None:
    """As lists and as merged mappings; neither takes time or memory."""
    lists = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    merged = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    for bomb in (lists, merged):
        assert "stands for more than 100,000 values" in _refusal(tmp_path, bomb)


def test_a_config_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """PyYAML would take minutes for what no config needs."""
    assert "holds 250,001 bytes; a config holds 250,000 at most" in _refusal(tmp_path, "#" * 250_001)


def test_merge_keys_and_aliases_work(tmp_path: Path) -> None:
    """A key of the mapping's own stands over a merged one, which is no key that stands twice."""
    path = tmp_path / "config.yml"
    columns = "  columns: {fare_amount: {<<: *d, threshold: 0.01}, trip_distance: *d}\n"
    path.write_text(TAXI.replace("default: {test", "default: &d {test").replace("tests:\n", columns + "tests:\n"))
    config = load_config(path)
    assert (config.drift_test("fare_amount").test, config.drift_test("fare_amount").threshold) == ("ks", 0.01)
    assert config.drift_test("trip_distance") == config.drift.default


def test_whole_numbers_and_booleans_are_categories_as_text(tmp_path: Path) -> None:
    """Bare as people write them; text may stand beside them."""
    path = tmp_path / "config.yml"
    for written, read in (
        ("[0, 1]", ("0", "1")),
        ("[true, False]", ("true", "false")),
        ("[-1, other]", ("-1", "other")),
    ):
        path.write_text(TAXI.replace('["no", "yes"]', written))
        assert load_config(path).model.categories == read


def test_names_are_any_text_without_control_characters(tmp_path: Path) -> None:
    """Also where they name a drift test's column."""
    names = [
        "_id",
        "Fläche in m²",
        "price.per.unit",
        'he said "hi"',
        "a\\b",
        "a|b",
        "{x}",
        "🚕",
        "--x",
        "X",
        "x",
        " y ",
    ]
    content = yaml.safe_load(TAXI)
    content["model"] |= {"features": names, "target": "tip ($)", "prediction": "tip?", "categories": ["<=50K", " >50K"]}
    content["drift"]["columns"] = {name: {"test": "t_test", "threshold": 0.01} for name in names}
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True))
    config = load_config(path)
    assert list(config.model.features) == names
    assert {config.drift_test(name).test for name in names} == {"t_test"}


def test_a_thousand_mistakes_are_a_page_at_most(tmp_path: Path) -> None:
    """Who reads the message is told how many there are."""
    told = _refusal(tmp_path, TAXI.replace('["no", "yes"]', str([0.5] * 1001)))
    assert "1001 value(s) cannot be used" in told
    assert "and 981 more" in told
    assert len(told.splitlines()) < 30


def _is_told(content: bytes, folder: Path) -> None:
    """Load the bytes: a config, or a refusal in readable lines."""
    path = folder / "config.yml"
    path.write_bytes(content)
    try:
        assert isinstance(load_config(path), Config)
    except ConfigError as error:
        lines = str(error).splitlines()
        assert lines
        assert len(lines) < 60
        for line in lines:
            assert line.isprintable(), line
            assert len(line) < 2000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated")


def _mutate(text: str, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        lines = text.splitlines(keepends=True)
        kind = rng.randrange(5)
        if kind == 0:
            text = text[:at] + rng.choice(FRAGMENTS) + text[at:]
        elif kind == 1:
            text = text[:at] + text[min(to, at + 30) :]
        elif kind == 2:  # a line stands twice, somewhere
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines or [""]))
            text = "".join(lines)
        elif kind == 3:  # a value becomes another
            text = text[: text.find(": ", at) + 2] + rng.choice(FRAGMENTS) + "\n" + text[max(at, text.find("\n", at)) :]
        else:
            text = text[:at] + chr(rng.randrange(0x2100)) + text[at + 1 :]
    content = text.encode("utf-8", "surrogatepass")
    return content if rng.random() < 0.9 else content[: rng.randrange(len(content) + 1)] + b"\xff" + content


@pytest.mark.parametrize("text", [pytest.param(SHIPPED, id="shipped"), pytest.param(TAXI, id="taxi")])
def test_a_mutated_config_is_a_config_or_a_readable_refusal(text: str, folder: Path) -> None:
    """Never a traceback, whatever a hand or a fuzzer does to the file."""
    rng = random.Random(17)
    for _ in range(200):
        _is_told(_mutate(text, rng), folder)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_readable_refusal(folder: Path, content: bytes) -> None:
    """No parser's own error comes through."""
    _is_told(content, folder)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.dates(),
    lambda held: st.lists(held, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), held, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_value_at_any_key_is_a_config_or_a_readable_refusal(folder: Path, data: st.DataObject) -> None:
    """The checks of each key hold for values of every type."""
    content = yaml.safe_load(data.draw(st.sampled_from([SHIPPED, TAXI])))
    held = content
    while True:
        key = data.draw(st.sampled_from(sorted(held) if isinstance(held, dict) else range(len(held))))
        if not isinstance(held[key], dict | list) or not held[key] or data.draw(st.booleans()):
            break
        held = held[key]
    held[key] = data.draw(_values)
    _is_told(yaml.safe_dump(content).encode("utf-8", "surrogatepass"), folder)
