"""Reward training: Bradley-Terry on pairs of real against corrupted, and of right against wrong prompt.

A fifth of the reward split is held out, for the pair accuracy and for the mean score of real data, where the reward
saturates: on its own training data the score is too high. The images travel with the model, as the reference of the
groupwise reward.
"""

from __future__ import annotations

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from flowmap.data.dataset import Split, read_facts, read_split
from flowmap.progress import Progress, say
from flowmap.reward_training.pairs import corrupt, other_prompt
from flowmap.rewards.preference import REFERENCE, PreferenceFacts, PreferenceNetwork, write_preference
from flowmap.step import Context

_JITTER = 0.2
_WEIGHT_DECAY = 0.1
_SIZE_PENALTY = 1e-3
_REPEATS = 10


def run(context: Context) -> None:
    section, facts = context.config.reward_training, read_facts(context.inputs["data"])
    everything, num_prompts = read_split(context.inputs["data"], "reward"), len(facts.prompts)
    num_held_out = max(1, len(everything) // 5)
    train = Split(everything.images[num_held_out:], everything.prompts[num_held_out:])
    held_out = Split(everything.images[:num_held_out], everything.prompts[:num_held_out])
    generator = torch.Generator().manual_seed(section.seed)
    network = PreferenceNetwork(facts.shape, num_prompts)
    optimizer = torch.optim.AdamW(network.parameters(), section.learning_rate, weight_decay=_WEIGHT_DECAY)
    with Progress("reward_training", section.updates) as progress:
        for _ in range(section.updates):
            chosen = torch.randint(len(train), (section.batch_size,), generator=generator)
            x = train.images[chosen]
            x = x + _JITTER * torch.randn(x.shape, generator=generator)
            loss = preference_loss(network, x, train.prompts[chosen], num_prompts, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.update(loss=float(loss.detach()))
    network.eval()
    accuracy = pair_accuracy(network, held_out, num_prompts, generator)
    with torch.no_grad():
        real_score = float(network(held_out.images, held_out.prompts).mean())
    write_preference(
        context.out,
        network,
        PreferenceFacts(
            shape=facts.shape,
            num_prompts=num_prompts,
            real_score=real_score,
            pair_accuracy=accuracy,
            num_pairs=_REPEATS * num_held_out,
        ),
    )
    save_file({"images": everything.images, "prompts": everything.prompts}, context.out / REFERENCE)
    told = ", ".join(f"{kind} {share:.3f}" for kind, share in accuracy.items())
    say(f"reward_training: held-out pairs in the right order: {told}; real data score {real_score:.2f}")


def preference_loss(
    network: PreferenceNetwork, x: Tensor, prompt: Tensor, num_prompts: int, generator: torch.Generator
) -> Tensor:
    """-log P(real over corrupted) - log P(right over wrong prompt), the latter for corrupted ones at half weight too.

    A small penalty on the score's size fixes the scale, which pairs leave open.
    """
    worse, wrong = corrupt(x, generator), other_prompt(prompt, num_prompts, generator)
    score, score_worse = network(x, prompt), network(worse, prompt)
    loss: Tensor = (
        -F.logsigmoid(score - score_worse).mean()
        - F.logsigmoid(score - network(x, wrong)).mean()
        - 0.5 * F.logsigmoid(score_worse - network(worse, wrong)).mean()
        + _SIZE_PENALTY * score.square().mean()
    )
    return loss


@torch.no_grad()
def pair_accuracy(
    network: PreferenceNetwork, held_out: Split, num_prompts: int, generator: torch.Generator
) -> dict[str, float]:
    """The share of held-out pairs in the right order, each image in ten pairs of each kind."""
    images, prompts = held_out.images.repeat(_REPEATS, 1, 1, 1), held_out.prompts.repeat(_REPEATS)
    real = network(images, prompts)
    corrupted = network(corrupt(images, generator), prompts)
    mistaken = network(images, other_prompt(prompts, num_prompts, generator))
    return {
        "against_corrupted": float((real > corrupted).float().mean()),
        "against_wrong_prompt": float((real > mistaken).float().mean()),
    }
