"""Where a run's wall seconds go: each step's own work, its frame, and what lies between steps; then the same
reused.

    make bench-run

A step's work is its own function; its frame fetches, verifies, imports, publishes and records around that;
between the steps are the starts of their interpreters and kfp's runner. The first run starts from nothing,
the second reuses all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_AIM_OUTSIDE, _AIM_REUSED_S = 0.20, 20


def timed(*command: str) -> tuple[float, str]:
    """Wall seconds of a Python process, and what it printed; a run that was rejected (3) counts too."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(done.returncode)
    return time.perf_counter() - began, done.stdout


def tell(title: str, wall_s: float, steps: dict[str, dict[str, Any]]) -> float:
    """Print one run's table; returns the share of its seconds outside the steps' own work."""
    in_steps, work = (
        sum(step["wall_s"] for step in steps.values()),
        sum(step["work_s"] for step in steps.values()),
    )
    print(f"{title}: {wall_s:.1f} s")
    print(f"  {'step':<18}{'wall':>8}{'work':>8}{'frame':>8}")
    for name, step in steps.items():
        frame_s, again = step["wall_s"] - step["work_s"], "  reused" * step["reused"]
        print(f"  {name:<18}{step['wall_s']:>8.1f}{step['work_s']:>8.1f}{frame_s:>8.1f}{again}")
    print(f"  {'between steps':<18}{wall_s - in_steps:>8.1f}{'':>8}{wall_s - in_steps:>8.1f}")
    share = float(1 - work / wall_s)
    print(f"  outside the steps' own work: {wall_s - work:.1f} s, {share:.1%}")
    return share


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, nargs="?", default=Path("examples/digits.yaml"))
    config = parser.parse_args().config
    help_s, _ = timed("-m", "flowmap_pipelines.cli", "--help")
    kfp_s, _ = timed("-c", "import kfp.local")
    torch_s, _ = timed("-c", "import torch")
    print(
        f"flowmap --help {help_s:.2f} s (aim: below 1); python with kfp {kfp_s:.1f} s, with torch "
        f"{torch_s:.1f} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        run = ("-m", "flowmap_pipelines.cli", "run", str(config), "--root", folder, "--json")
        first_s, first = timed(*run)
        second_s, second = timed(*run)
    share = tell("first run", first_s, json.loads(first)["steps"])
    tell("the same again", second_s, json.loads(second)["steps"])
    print(
        f"aims: outside at most {_AIM_OUTSIDE:.0%} ({share:.1%}); reused within {_AIM_REUSED_S} s "
        f"({second_s:.1f} s)"
    )


if __name__ == "__main__":
    main()
