"""Find or fetch Prometheus, promtool, Alertmanager and amtool: `python -m scripts.prometheus_tools`.

All four end up in `.local/tools/bin` under these names: links to those on PATH where all are recent enough, else
Debian's packages, verified by apt and unpacked privately. Needs no root and installs nothing. Standard library only,
because it is part of the set-up.
"""

import fcntl
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".local" / "tools"
OLDEST = {"prometheus": (2, 42), "promtool": (2, 42), "alertmanager": (0, 25), "amtool": (0, 25)}
_DEBIAN_NAMES = {"alertmanager": "prometheus-alertmanager"}
_REQUIRED_PACKAGES = ("prometheus", "prometheus-alertmanager")
_OPTIONAL_PACKAGES = ("promtool",)  # its own package since trixie, part of prometheus before

# Debian's Alertmanager does not start without its templates in this folder, which only an installation fills.
_TEMPLATES = b"/usr/share/prometheus/alertmanager"

_BY_HAND = """\
To get them by hand: download `prometheus` and `alertmanager` for your system from https://prometheus.io/download/
(promtool and amtool are in the same archives), unpack them, and put both folders on PATH. On macOS:
`brew install prometheus alertmanager`."""


class ToolsError(RuntimeError):
    """The tools are neither here nor to be had; the text says what is missing and how to get it."""


@dataclass(frozen=True)
class Tools:
    """Where the tools are, and their versions by name."""

    prometheus: Path
    promtool: Path
    alertmanager: Path
    amtool: Path
    versions: Mapping[str, str]


def find_tools(folder: Path = TOOLS) -> Tools:
    """Return the tools in `folder`/bin, putting them there first if need be; raise ToolsError if that cannot be."""
    if (tools := _in_place(folder)) is not None:
        return tools
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder / "lock"):
        if (tools := _in_place(folder)) is not None:
            return tools
        found, problems = _on_path()
        if problems:
            found = _unpack_packages(folder, problems)
        _link(folder / "bin", found)
    if (tools := _in_place(folder)) is None:
        raise ToolsError(_explain(_problems(found), "What was found does not run or is too old."))
    return tools


def version_of(command: Path) -> str | None:
    """Return the version that a tool of Prometheus tells, None if it does not run or is something else."""
    try:
        run = subprocess.run(
            [command, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    match = re.match(r"(?:prometheus|promtool|alertmanager|amtool), version (\d+(?:\.\d+)+)", run.stdout)
    return match[1] if match else None


def _recent(name: str, version: str | None) -> bool:
    return version is not None and tuple(map(int, version.split("."))) >= OLDEST[name]


def _in_place(folder: Path) -> Tools | None:
    paths = {name: folder / "bin" / name for name in OLDEST}
    versions = {name: version_of(path) for name, path in paths.items()}
    if not all(_recent(name, version) for name, version in versions.items()):
        return None
    return Tools(**paths, versions={name: version or "" for name, version in versions.items()})


def _on_path() -> tuple[dict[str, Path], list[str]]:
    """Return the tools on PATH by name, and a line for each that is absent or too old."""
    found = {}
    for name in OLDEST:
        place = shutil.which(name) or shutil.which(_DEBIAN_NAMES.get(name, name))
        if place is not None:
            found[name] = Path(place).absolute()
    return found, _problems(found)


def _problems(found: Mapping[str, Path]) -> list[str]:
    problems = []
    for name, oldest in OLDEST.items():
        wanted = f"{name} {'.'.join(map(str, oldest))} or newer"
        if name not in found:
            problems.append(f"{wanted} (not found)")
        elif not _recent(name, version := version_of(found[name])):
            problems.append(f"{wanted} ({found[name]} is {version or 'something else'})")
    return problems


def _explain(problems: list[str], reason: str) -> str:
    return "\n".join(["These are needed:", *(f"  {p}" for p in problems), reason, _BY_HAND])


def _unpack_packages(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Fetch and unpack Debian's packages; return the tools in them by name."""
    absent = [c for c in ("apt-get", "apt-cache", "apt-config", "dpkg") if shutil.which(c) is None]
    if absent:
        where = f"{platform.system()} has no {', '.join(absent)}"
        raise ToolsError(_explain(problems, f"They cannot be fetched from Debian's packages here: {where}."))
    unpacked = folder / "debian"
    with tempfile.TemporaryDirectory(dir=folder, prefix="apt-") as work:
        try:
            _fetch(Path(work))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            lines = [line for line in str(error.output or error).splitlines() if line.strip()]
            told = "\n".join(f"  {line}" for line in lines[-6:])
            raise ToolsError(_explain(problems, f"Fetching Debian's packages failed:\n{told}")) from error
        if unpacked.exists():
            shutil.rmtree(unpacked)
        (Path(work) / "root").rename(unpacked)
    binaries = unpacked / "usr/bin"
    places = {name: binaries / _DEBIAN_NAMES.get(name, name) for name in OLDEST}
    return {name: place for name, place in places.items() if place.exists()}


def _fetch(work: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "APT_CONFIG": str(_write_apt_config(work))}

    def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=work, env=environment, check=check, text=True, timeout=900,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    _say("reading the lists of this machine's package sources (about 10 MB)")
    # A source that fails does not matter as long as another one has the packages.
    update = run("apt-get", "--quiet", "update", check=False)
    wanted = list(_REQUIRED_PACKAGES)
    for package in wanted:
        if run("apt-cache", "show", package, check=False).returncode:
            reason = f"{update.stdout}\nNo package source of this machine has {package}."
            raise subprocess.CalledProcessError(update.returncode, update.args, reason)
    wanted += [p for p in _OPTIONAL_PACKAGES if not run("apt-cache", "show", p, check=False).returncode]
    _say(f"downloading {', '.join(wanted)} (30 to 50 MB)")
    run("apt-get", "--quiet", "download", *wanted)
    for archive in sorted(work.glob("*.deb")):
        _say(f"unpacking {archive.name}")
        run("dpkg", "--extract", str(archive), str(work / "root"))


def _write_apt_config(work: Path) -> Path:
    """Write this machine's apt configuration (sources, keys, proxies) with private places for all that apt writes."""
    dump = subprocess.run(["apt-config", "dump"], check=True, text=True, stdout=subprocess.PIPE).stdout
    # Hooks act on the system, further indexes (AppStream, contents) are large and not needed.
    dropped = ("APT::Update::", "DPkg::", "Acquire::IndexTargets::")
    kept = [line for line in dump.splitlines() if not line.startswith(dropped)]
    for private in ("lists/partial", "cache/archives/partial", "root"):
        (work / private).mkdir(parents=True)
    own = {
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::main": "/dev/null",
        "Dir::State::Lists": str(work / "lists"),
        "Dir::Cache": str(work / "cache"),
        "APT::Sandbox::User": "root",  # where root runs this, _apt may not write here
        "Acquire::Languages": "none",
        "Acquire::http::Timeout": "30",
        "Acquire::https::Timeout": "30",
        "Acquire::Retries": "2",
    }
    config = work / "apt.conf"
    config.write_text("\n".join([*kept, *(f'{key} "{value}";' for key, value in own.items()), ""]))
    return config


def _link(folder: Path, found: Mapping[str, Path]) -> None:
    folder.mkdir(exist_ok=True)
    for name, target in found.items():
        temporary = folder / f".{name}"
        temporary.unlink(missing_ok=True)
        templates = target.parent.parent / "share/prometheus/alertmanager"
        if name == "alertmanager" and target.is_relative_to(folder.parent) and templates.is_dir():
            _write_launcher(temporary, target, templates)
        else:
            temporary.symlink_to(target)
        temporary.replace(folder / name)


def _write_launcher(launcher: Path, program: Path, templates: Path) -> None:
    """Make the private Alertmanager read the private templates.

    The folder's name is compiled in, so in our copy a name of the same length takes its place: file descriptor 9, which
    the launcher opens on the folder.
    """
    # Without this, Debian's Alertmanager refuses every configuration: it opens its default templates before those that
    # `templates:` names. No option and no environment variable moves them, and LD_PRELOAD never sees the call: Go opens
    # files past libc. Two ways around work, but not for everybody. A bind mount in a namespace of the user's own
    # (`unshare -Urm`) is forbidden by default in Docker's containers and on Ubuntu since 24.04. `proot` needs no
    # privilege, but whoever kills it leaves the Alertmanager that it traces running, on its port.
    content = program.read_bytes()
    program.write_bytes(content.replace(_TEMPLATES, b"/proc/self/fd/9".ljust(len(_TEMPLATES), b"/")))
    launcher.write_text(f'#!/bin/sh\nexec 9<{shlex.quote(str(templates))} && exec {shlex.quote(str(program))} "$@"\n')
    launcher.chmod(0o755)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Let one process at a time into the block."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    print(f"prometheus tools: {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Put the tools in place and print where they are."""
    try:
        tools = find_tools()
    except ToolsError as error:
        sys.exit(f"prometheus tools: {error}")
    for name, version in tools.versions.items():
        print(f"{getattr(tools, name)} {version}")


if __name__ == "__main__":
    main()
