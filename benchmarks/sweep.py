"""One configuration in several settings, each with the same seeds: a row of figures for each, so that what a
setting buys can be seen.

    make bench-sweep                # ranks of adapters on examples/tiny_flux.yaml
    python -m benchmarks.sweep examples/digits.yaml --try --try grpo_finetuning.kernel=exact_local

Each `--try` names a setting by what differs from the configuration as it is written, SECTION.SETTING=VALUE
as with `flowmap run --set`, several if they belong together; without any it is the configuration itself.
Steps that a setting does not touch are shared between the rows, and an interrupted sweep goes on.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.seeds import mean_and_range, run_seed, values_of
from flowmap.settings import load_config

_TUNED = {"judge_accuracy": 3, "fd_judge": 1, "kid_judge": 4, "recall": 3, "diversity": 3}


def row(tried: Sequence[str], outcomes: list[dict[str, Any]]) -> str:
    """A line of the table: the tuned model at its most evaluations, mean and range over the seeds."""
    tuned = outcomes[0]["metrics"]["models"]["tuned"]
    most = max(map(int, tuned))
    cells = [
        mean_and_range(values_of(outcomes, "tuned", most, key), digits) for key, digits in _TUNED.items()
    ]
    by_set = [outcome["metrics"].get("accuracy_by_set", {}) for outcome in outcomes]
    cells += [mean_and_range([each[name]["tuned"] for each in by_set], 3) for name in by_set[0]]
    promoted = sum(outcome["version"] is not None for outcome in outcomes)
    settings = " ".join(each.removeprefix("grpo_finetuning.") for each in tried) or "as written"
    return f"| {settings} | " + " | ".join([*cells, f"{promoted} of {len(outcomes)}"]) + " |"


def head(outcome: dict[str, Any]) -> Iterator[str]:
    """The table's first two lines."""
    sets = outcome["metrics"].get("accuracy_by_set", {})
    columns = ["accuracy", "Frechet distance", "KID", "recall", "diversity", *sets, "promoted"]
    yield "| setting | " + " | ".join(columns) + " |"
    yield "| --- |" + " ---: |" * len(columns)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--try", dest="tried", nargs="*", action="append", required=True, metavar="SET")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 1 on")
    parser.add_argument("--root", type=Path, default=Path(".flowmap-seeds"))
    options = parser.parse_args()
    name = load_config(options.config).name
    for number, tried in enumerate(options.tried):
        # a model of its own for every setting, so that each is judged as the first of its name
        called = f"{name}-{hashlib.sha256(' '.join(tried).encode()).hexdigest()[:6]}" if tried else name
        outcomes = [
            run_seed(options.config, called, seed, options.root, tried)
            for seed in range(1, options.seeds + 1)
        ]
        if number == 0:
            print(*head(outcomes[0]), sep="\n", flush=True)
        print(row(tried, outcomes), flush=True)


if __name__ == "__main__":
    main()
