"""Every command in README and docs is run by a test or stands in a block that is marked as an example.

A block of commands begins with ` ``` ` alone or with `sh` or `bash`; `sh example` marks it as one that no test runs.
"""

import ast
import functools
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.processes import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
EACH_PAGE = pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
PROGRAMS = {"amtool", "curl", "docker", "git", "gunicorn", "helm", "kubectl", "make", "promtool", "python"}
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

# What runs a command: a file, and words that stand in it.
RUN = {
    "curl /feedback": ("tests/unit/test_api_feedback.py", "/feedback"),
    "curl /log": ("tests/unit/test_api_log.py", "/log"),
    "curl /predict": ("tests/unit/test_api_predict.py", "/predict"),
    "docker compose down": ("tests/containers/compose.py", '"down"'),
    "docker compose exec cat": ("tests/containers/compose.py", '"cat", "/run/secrets/'),
    "docker compose exec python": ("tests/unit/test_api_keys.py", "api.keys"),
    "docker compose run secrets": ("tests/containers/test_containers_hardening.py", "docker-compose.secrets.yml"),
    "docker compose run simulator": ("tests/containers/compose.py", '"run"'),
    "docker compose up": ("tests/containers/compose.py", "scripts/up"),
    "make backup": ("tests/containers/test_containers_recovery.py", "scripts/backup"),
    "make dashboards-preview": ("tests/unit/test_preview.py", "scripts.preview"),
    "make demo": ("tests/stack/demo_run.py", "scripts.demo"),
    "make mixin": ("tests/unit/test_mixin.py", "scripts.mixin"),
    "make purge": ("tests/containers/test_containers_recovery.py", "scripts/purge"),
    "make restore": ("tests/containers/test_containers_recovery.py", "scripts/restore"),
    "make run": ("tests/unit/test_stack_owner.py", "scripts.stack"),
    "make test": (".ci/run", "make test"),
    "make up": ("tests/containers/compose.py", "scripts/up"),
    "python -m data.simulate": ("tests/unit/test_simulate.py", "data.simulate"),
    "python -m flows check-model": ("tests/unit/test_check_model.py", '"check-model"'),
    "python -m flows propose": ("tests/unit/test_proposal.py", '"propose"'),
    "python -m flows register": ("tests/unit/test_register.py", "register"),
    "python -m monitoring backtest": ("tests/unit/test_backtest.py", '"backtest"'),
    "python -m monitoring check-config": ("tests/unit/test_check_config.py", '"check-config"'),
    "python -m monitoring gate": ("tests/unit/test_gate.py", '"gate"'),
    "python -m monitoring ingest": ("tests/unit/test_ingest.py", '"ingest"'),
    "python -m monitoring profile": ("tests/unit/test_exit_status.py", '"profile"'),
    "python -m monitoring report": ("tests/unit/test_exit_status.py", '"report"'),
    "python -m monitoring run": ("Procfile", "-m monitoring run"),
    "gunicorn": ("tests/unit/api_fixtures.py", "gunicorn"),
    "promtool tsdb": ("tests/unit/test_backtest.py", "create-blocks-from"),
    "python -c": ("tests/contract/test_docs_commands.py", "def test_snippets_compile"),
}


class Command(NamedTuple):
    """A command of a page: its words without variables before them, and whether its block is marked as an example."""

    words: list[str]
    is_example: bool

    @property
    def key(self) -> str:
        """What is looked up in RUN: the program and what it is asked to do."""
        program, *rest = self.words
        named = [word for word in rest if not word.startswith("-")]
        if program == "curl":
            return f"curl {next((m[1] for w in rest if (m := re.search(r'localhost:[0-9]+(/[a-z]+)', w))), '')}"
        if program == "docker" and rest[0] == "compose":
            at = next((at for at, word in enumerate(named) if word in {"down", "exec", "run", "up"}), 0)
            more = {"exec": named[at + 2 : at + 3], "run": [w for w in named[at + 1 :] if w in SERVICES][:1]}
            return " ".join(["docker compose", named[at], *more.get(named[at], [])])
        if program == "python" and rest[0] == "-m":
            return " ".join(["python -m", *named[: 1 if "." in named[0] else 2]])
        return program if program == "gunicorn" else f"{program} {rest[0]}"


def _lines(block: str) -> Iterator[str]:
    """Yield a block's lines of shell: continued ones as one, without comments."""
    for line in re.sub(r" *\\\n *", " ", block).splitlines():
        yield re.sub(r"(^|\s)#(?!\{).*$", "", line).strip()


def _words(line: str) -> list[str]:
    """Split a line of shell into words; none where it is none."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that goes on in the next line
        words = line.split()
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if words and words[0].startswith(".venv/bin/"):
        words[0] = words[0].removeprefix(".venv/bin/")
    return words


def commands(page: Path) -> list[Command]:
    """Return the commands of a page's blocks, in their order."""
    found = []
    for _, info, block in FENCE.findall(page.read_text()):
        language, *marks = info.split() or [""]
        if language in {"", "bash", "sh"}:
            lines = filter(None, map(_words, _lines(block)))
            asked = (words for words in lines if words[0] in PROGRAMS and len(words) > 1)
            found += [Command(words, marks == ["example"]) for words in asked]
    return found


@EACH_PAGE
def test_every_command_is_run_by_a_test_or_is_an_example(page: Path) -> None:
    """What is new on a page gets a line in RUN, or its block is marked ` ```sh example `."""
    strange = [" ".join(one.words) for one in commands(page) if not one.is_example and one.key not in RUN]
    assert not strange, "in no test and not marked as an example:\n" + "\n".join(strange)


def test_what_is_run_stands_in_a_test() -> None:
    """Each file of RUN is there and has the words, and each line of RUN is of use."""
    missing = [key for key, (file, words) in RUN.items() if words not in (ROOT / file).read_text()]
    used = {one.key for page in PAGES for one in commands(page)}
    assert (missing, sorted(RUN.keys() - used)) == ([], [])


@functools.cache
def _texts(package: str) -> set[str]:
    """Return every text in a package's code, its commands and options among them."""
    nodes = [node for path in (ROOT / package).rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@EACH_PAGE
def test_commands_are_spelled_as_they_are(page: Path) -> None:
    """The targets of make, and our modules' commands and options, exist; so do those of examples."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for one in commands(page):
        program, *rest = one.words
        if program == "make":
            wrong += [f"make {word}" for word in rest if re.fullmatch("[a-z-]+", word) and word not in targets]
        elif program == "python" and rest[0] == "-m":
            package, *command = one.key.split()[2:]
            asked = {*command, *(word.partition("=")[0] for word in rest if word.startswith("--"))} - {"--help"}
            wrong += [f"{one.key}: {word}" for word in asked - _texts(package.partition(".")[0])]
    assert not wrong


@EACH_PAGE
def test_snippets_compile(page: Path) -> None:
    """Python on a page is Python, in blocks and after `python -c`."""
    blocks = [textwrap.dedent(block) for _, info, block in FENCE.findall(page.read_text()) if info == "python"]
    for text in [*blocks, *(one.words[2] for one in commands(page) if one.key == "python -c")]:
        compile(text, str(page), "exec")


def _anchors(page: Path) -> set[str]:
    """Return what the headings of a page can be reached by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of ours, with the heading that it names, and each picture."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if not re.match(r"https?:|mailto:", link):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            there = target.exists() and (not anchor or (target.suffix == ".md" and anchor in _anchors(target)))
            wrong += [] if there else [link]
    assert not wrong


def test_the_index_names_every_page() -> None:
    """Whoever looks for something finds it from docs/README.md; runbooks are named as a folder."""
    index = (ROOT / "docs/README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in pages if f"({name}" not in index} == set()


def test_readme_is_read_in_three_minutes() -> None:
    """Prose and commands, at 240 words a minute; one command and one picture stand before all else."""
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 720
    first, *_ = text.split("\n## ")
    assert first.index("docker compose up") < first.index("![") < first.index("docker compose exec")
    assert text.count("![") == 1
