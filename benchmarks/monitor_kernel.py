"""The kernel, which counts values at and between the reference's, against numpy's sort of the same columns.

And what other libraries offer for the same counts: their time, what their import costs in time and memory, and their
size on disk. Each runs in a process of its own, beside a sort there; those that are no dependency of ours in an
environment that uv makes, and without uv or a network they are left out.

    python -m benchmarks.monitor_kernel [--rows 1000000]
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
SIMD_OFF = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR AVX512_SKX AVX2"}
OTHERS = ("numpy", "numba", "polars", "duckdb", "pyarrow")


def ask(command: list[str], rows: int, **variables: str) -> dict[str, float] | None:
    done = subprocess.run(
        [*command, str(rows)],
        cwd=ROOT, env=os.environ | variables | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"left out: {' '.join(command[-2:])}: {(done.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
        return None
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    script = "benchmarks/kernels.py"
    print(
        "| kernel | ÷ numpy's sort | ns a value | import | memory of the import | on disk |\n|---|---|---|---|---|---|"
    )
    results = {"ours": ask([sys.executable, script, "ours"], rows)}
    results["ours, numpy without AVX"] = ask([sys.executable, script, "ours"], rows, **SIMD_OFF)
    for name in OTHERS:
        here = [sys.executable] if name in {"numpy", "pyarrow"} else None
        if here is None and UV.exists():
            here = [str(UV), "run", "--no-project", "--isolated", "--python", sys.executable]
            here += ["--with", name, "--with", "numpy", "python"]
        results[name] = ask([*here, script, name], rows) if here else None
    for name, found in results.items():
        if found:
            print(
                f"| {name} | {found['ratio']:.2f} | {found['nanoseconds']:.1f} | {found['import_seconds']:.2f} s "
                f"| {found['import_megabytes']:.0f} MB | {found['disk_megabytes']:.0f} MB |"
            )


if __name__ == "__main__":
    main()
