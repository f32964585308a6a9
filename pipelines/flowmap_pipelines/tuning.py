"""Which transitions of a configuration's grid carry signal, measured on its finished base and rewards.

signals = measure(config, store, num_rollouts=8)
print(tuning_text(config, signals))
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import fetch_artifact
from flowmap.errors import ConfigError
from flowmap.grpo.signal import TransitionSignal, transition_signals, worth_training
from flowmap.grpo.trainer import Grpo
from flowmap.grpo_finetuning.worker import prompts_of
from flowmap.models.storing import AS_BASE, load_model, read_model_facts
from flowmap.rewards.building import Materials, build_rewards
from flowmap.settings import RunConfig
from flowmap.training.devices import device
from flowmap_pipelines.planning import plan

_STEPS = ("base_training", "reward_training")


def measure(config: RunConfig, store: ObjectStore, num_rollouts: int) -> list[TransitionSignal]:
    """Every transition's signal, with the settings of GRPO but for its window: all of them are stochastic.

    Raises ConfigError when base or rewards are not trained yet.
    """
    made = {step.name: step.output for step in plan(config, store)}
    if missing := [name for name in _STEPS if made[name] is None]:
        raise ConfigError(
            f"{' and '.join(missing)} of this configuration did not run yet: `flowmap run` it once, or "
            "take the settings that it ran with"
        )
    section = config.grpo_finetuning.model_copy(update={"window": None})
    with tempfile.TemporaryDirectory() as scratch:
        base, trained = (Path(scratch) / name for name in _STEPS)
        for folder in (base, trained):
            fetch_artifact(store, str(made[folder.name]), folder)
        model = load_model(base, AS_BASE, device())
        model.network.requires_grad_(True)
        rewards = build_rewards(section.rewards, Materials(trained, device()))
        grpo = Grpo(model, rewards, prompts_of(read_model_facts(base)), section)
        return transition_signals(grpo, num_rollouts)


def tuning_text(config: RunConfig, signals: list[TransitionSignal]) -> str:
    """A line for each transition, and what follows for the window."""
    worth, own = worth_training(signals), config.grpo_finetuning.window
    lines = [f"{'interval':>8}{'from':>8}{'to':>8}{'noise':>8}{'signal':>16}{'gradient':>10}"]
    for each in signals:
        cosine = f"{each.cosine:.3f} +- {each.error:.3f}"
        worth_it = "   worth training" if each.index in worth else ""
        lines.append(
            f"{each.index:>8}{each.t:>8.3f}{each.r:>8.3f}{each.std:>8.3f}{cosine:>16}{each.norm:>10.3g}{worth_it}"
        )
    now = "every interval but the last" if own is None else list(own)
    return "\n".join(
        [
            *lines,
            "",
            "signal: cosine of the gradients of two halves of the groups; 1 is all signal, 0 all noise",
            f"grpo_finetuning.window: {list(worth)} would train what carries signal; it is {now}",
        ]
    )
