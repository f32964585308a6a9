"""`flowmap init`: look at a user's data and write the configuration for them, with comments; or write an
example."""

from __future__ import annotations

import re
from pathlib import Path

from flowmap.base_training.sizes import with_sizes
from flowmap.data.naming import named
from flowmap.modality import IMAGES, looking
from flowmap.settings import BaseTraining

_FEW = 25
EXAMPLES = Path(__file__).with_name("examples")


def example_names() -> list[str]:
    """The configurations that come with flowmap."""
    return sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def write_example(name: str, output: Path) -> None:
    """Write one of them."""
    output.write_text((EXAMPLES / f"{name}.yaml").read_text())


def write_configuration(source: Path, preferences: Path | None, output: Path) -> str:
    """Write a configuration for `source`, a folder or an .npz file, and return what was seen in one
    sentence.

    Raises:
        DataError: the source is not readable as data with prompts.
    """
    look = looking(IMAGES).look(source)
    name = re.sub(r"[^a-z0-9._-]+", "-", source.stem.lower()).strip("-._") or "model"
    num = sum(look.prompts.values())
    sizes = with_sizes(BaseTraining(), IMAGES, look.shape, num // 2)
    few = [f"{prompt!r} ({count})" for prompt, count in look.prompts.items() if count < _FEW]
    lines = [
        f"# {num} {look.told} for {len(look.prompts)} prompts: {named(map(repr, sorted(look.prompts)))}",
        *(
            [f"# Few images of {named(few)}: four splits share them, and every split needs some."]
            if few
            else []
        ),
        f"name: {name}",
        "data_prep:",
        f"  source: {source.absolute()}",
        *(f"  {line}" for line in look.lines),
        *([f"  preferences: {preferences.absolute()}"] if preferences else ["  # preferences: pairs.csv"]),
        "# Everything below may go: these are the values that the run would choose by itself.",
        "base_training:",
        f"  width: {sizes.width}",
        f"  updates: {sizes.updates}     # of the map; the baseline gets twice as many",
        "grpo_finetuning:",
        "  grid: [1, 0.683, 0.367, 0.05, 0]   # 4 map evaluations a sample",
        "  rollouts: 60",
        "  kl_target: 0.25     # nats a transition: how far the policy may leave the base",
        "  rewards:            # flowmap has preference, mmd, classifier, python and http",
        "    - {kind: preference, saturating: true}",
        "    - {kind: mmd, weight: 3}",
        "evaluation:",
        "  frechet_tolerance: 0.1     # the gate: at most 10 % above the incumbent's",
    ]
    output.write_text("\n".join(lines) + "\n")
    return f"{num} {look.told}, {len(look.prompts)} prompts"
