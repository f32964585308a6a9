"""`flowmap init`: look at a user's data and write the configuration for them, with comments; or write an
example."""

from __future__ import annotations

import re
from pathlib import Path

from flowmap.base_training.sizes import with_sizes
from flowmap.data.naming import named
from flowmap.data.prompts import differ_by_case
from flowmap.errors import ConfigError
from flowmap.modality import IMAGES, SERIES, looking
from flowmap.modality.protocols import Look
from flowmap.settings import BaseTraining
from flowmap.settings.yaml_text import write_value

_FEW = 25
EXAMPLES = Path(__file__).with_name("examples")


def example_names() -> list[str]:
    """The configurations that come with flowmap."""
    return sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def example_for(name: str) -> str | None:
    """The one of that name, or of that built-in source; None where there is none."""
    if name in example_names():
        return name
    line = f"  source: {name}\n"
    return next((each for each in example_names() if line in example_text(each)), None)


def example_text(name: str) -> str:
    """One of them."""
    return (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")


def configuration_for(
    source: Path, preferences: Path | None, checkpoint: str | None = None, name: str | None = None
) -> tuple[str, str]:
    """A configuration for `source`, a folder or a file, and what was seen in one sentence.

    Args:
        preferences: a table of them; where none is named, the one that lies in the folder.
        checkpoint: the model that prompts without data are for.
        name: what the model is to be called, made fit for that; as the source where none is given.

    Raises:
        DataError: the source is not readable as data with prompts.
        ConfigError: a checkpoint for a source that has data.
    """
    from flowmap.data.tables import preference_tables
    from flowmap_pipelines.init_prompts import configuration_for_prompts, holds_prompts

    source = source.expanduser()
    name = _as_name(name or source.stem)
    if holds_prompts(source):
        return configuration_for_prompts(name, source, checkpoint)
    if checkpoint is not None:
        raise ConfigError(f"--checkpoint is for a file of prompts, and {source} is none")
    found = preference_tables(source) if preferences is None and source.is_dir() else []
    if len(found) == 1:
        preferences = found[0]
    if source.suffix == ".csv":
        return _configuration_for_series(name, source, looking(SERIES).look(source, preferences))
    look = looking(IMAGES).look(source, preferences)
    num = sum(look.prompts.values())
    sizes = with_sizes(BaseTraining(), IMAGES, look.shape, num // 2)
    lines = [
        f"# {num} {look.told} for {len(look.prompts)} prompts: {named(map(repr, sorted(look.prompts)))}",
        *_warnings(look),
        f"name: {write_value(name)}",
        "data_prep:",
        f"  source: {write_value(str(source.absolute()))}",
        *(f"  {key}: {write_value(value)}    # {why}" for key, (value, why) in look.settings.items()),
        _preferences_line(preferences, found),
        "# Everything below may go: these are the values that the run would choose by itself.",
        "base_training:",
        f"  width: {sizes.width}",
        f"  updates: {sizes.updates}     # of the map; the baseline gets twice as many",
        "grpo_finetuning:",
        "  grid: [1, 0.75, 0.5, 0.25, 0]   # 4 map evaluations a sample",
        "  window: [0]         # the intervals that are trained; `flowmap tune-report` says which to",
        "  rollouts: 60",
        "  kl_target: 0.3      # nats a transition: how far the policy may leave the base",
        "  rewards:            # flowmap has preference, mmd, classifier, python and http",
        "    - {kind: preference, saturating: true}",
        "    - {kind: mmd, weight: 3}",
        "evaluation:",
        "  kid_tolerance: 0.01        # the gate: how much further from real data than the first base",
    ]
    pairs = "" if preferences is None else f", preferences from {preferences.name}"
    return "\n".join(lines) + "\n", f"{num} {look.told}, {len(look.prompts)} prompts{pairs}"


def _as_name(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:60] or "model"


def _configuration_for_series(name: str, source: Path, look: Look) -> tuple[str, str]:
    ((series, why),) = look.settings.values()
    assert isinstance(series, dict)
    lines = [
        f"# {len(look.prompts)} {look.told}, each an occasion to forecast; the latest ones judge.",
        f"name: {write_value(name)}",
        "data_prep:",
        f"  source: {write_value(str(source.absolute()))}    # columns time and value",
        f"  series: {{past: {series['past']}, future: {series['future']}}}    # {why}",
        "  shares: {base: 0.5, reward: 0.2, judge: 0.05, holdout: 0.25}",
        "base_training:",
        "  max_gap: 1.0",
        "grpo_finetuning:",
        "  grid: [1, 0.75, 0.5, 0.25, 0]   # 4 map evaluations a forecast",
        "  rewards:",
        "    - {kind: energy}              # best for whoever says how likely everything is",
        "  rollouts: 120",
        "  learning_rate: 2.0e-5",
        "  kl_target: 0.002    # nats: forecasts are narrow, so a little is far",
    ]
    told = f"{len(look.prompts)} {look.told}, {series['past']} past and {series['future']} future ones each"
    return "\n".join(lines) + "\n", told


def _warnings(look: Look) -> list[str]:
    few = [f"{prompt!r} ({count})" for prompt, count in look.prompts.items() if count < _FEW]
    alike = differ_by_case(look.prompts)
    lines = []
    if few:
        lines.append(f"# Few images of {named(few)}: four splits share them, and every split needs some.")
    if alike:
        lines.append(f"# These differ by capitals alone, and count as different: {named(alike)}.")
    return lines


def _preferences_line(preferences: Path | None, found: list[Path]) -> str:
    if preferences is not None:
        return f"  preferences: {write_value(str(preferences.expanduser().absolute()))}"
    if found:
        several = ", ".join(path.name for path in found)
        return f"  # preferences: pairs.csv    # one of {several}, which are in the folder"
    return "  # preferences: pairs.csv    # a table: prompt, chosen, rejected (names of files in the folder)"
