"""Reward training: Bradley-Terry on pairs of better and worse, and of right and wrong prompt; a classifier
on demand.

The pairs are the user's own where there are any, else real data of the reward split against corrupted ones.
A fifth of each prompt's is held out for the pair accuracy, and a fifth of the split for the mean score of
real data, where rewards saturate: on its own training data a score is too high. Content decides which. The
split travels with the model, as the reference of groupwise rewards.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from flowmap.data.dataset import Preferences, Split, read_contexts, read_facts, read_preferences, read_split
from flowmap.data.facts import DataFacts
from flowmap.data.holding_out import apart, content_digests, held_out
from flowmap.modality import corruption
from flowmap.modality.protocols import Corruption
from flowmap.progress import Progress, say
from flowmap.prompts.vectors import fill_contexts
from flowmap.reward_training.classifier import train_classifier
from flowmap.reward_training.pairs import Pairs, other_prompt
from flowmap.rewards.preference import PreferenceFacts, PreferenceNetwork, saturated, write_preference
from flowmap.rewards.trained import TrainedFacts, write_reference
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import RewardTraining
from flowmap.steps.context import Context

_WEIGHT_DECAY = 0.1
_SIZE_PENALTY = 1e-3
_REPEATS = 10


def run(context: Context[RewardTraining]) -> None:
    section, facts = context.section, read_facts(context.inputs["data"])
    if facts.prompts_alone:
        say("reward_training: prompts without data, so nothing to train: rewards come from elsewhere")
        _write_reference(context.out, facts, torch.empty(0, *facts.shape), torch.empty(0, dtype=torch.long))
        return
    real, num_prompts = read_split(context.inputs["data"], "reward"), len(facts.prompts)
    given = read_preferences(context.inputs["data"])
    pairs = pairs_of(given, real, corruption(facts.modality))
    kept, train = pairs.split(
        apart(real) if given is None else held_out(content_digests(pairs.better), pairs.prompts)
    )
    generator = generator_for(section.seed, "preference", "batches")
    torch.manual_seed(derived_seed(section.seed, "preference", "weights"))  # and dropout
    network = PreferenceNetwork(facts.shape, num_prompts, facts.context)
    fill_contexts(network, read_contexts(context.inputs["data"]))
    optimizer = torch.optim.AdamW(network.parameters(), section.learning_rate, weight_decay=_WEIGHT_DECAY)
    with Progress("reward_training", section.updates) as progress:
        for _ in range(section.updates):
            batch = train.draw(section.batch_size, generator)
            loss = preference_loss(network, *batch, num_prompts, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.update(loss=float(loss.detach()))
    network.eval()
    accuracy, num_pairs = pair_accuracy(network, kept, num_prompts, generator)
    unseen = apart(real)
    with torch.no_grad():
        scores = network(real.data[unseen], real.prompts[unseen])
    real_score = float(scores.mean())
    write_preference(
        context.out,
        network,
        PreferenceFacts(
            real_score=real_score,
            real_reward=float(saturated(scores, real_score).mean()),
            pair_accuracy=accuracy,
            num_pairs=num_pairs,
        ),
    )
    _write_reference(context.out, facts, real.data, real.prompts)
    shares = ", ".join(f"{kind} {share:.3f}" for kind, share in accuracy.items())
    say(f"reward_training: held-out pairs in the right order: {shares}; real data score {real_score:.2f}")
    if section.classifier_updates is not None:
        train_classifier(
            context.out,
            section,
            section.classifier_updates,
            facts.shape,
            num_prompts,
            facts.prompt_facts,
            real,
            unseen,
        )


def _write_reference(out: Path, facts: DataFacts, data: Tensor, prompts: Tensor) -> None:
    trained = TrainedFacts(
        shape=facts.shape, prompts=facts.prompts, prompt_facts=facts.prompt_facts, context=facts.context
    )
    write_reference(out, trained, data, prompts)


def pairs_of(given: Preferences | None, real: Split, corruption: Corruption) -> Pairs:
    """The user's own pairs, or real data against what corruption makes of them."""
    if given is None:
        return Pairs(real.data, None, real.prompts, corruption)
    return Pairs(given.chosen, given.rejected, given.prompts, corruption)


def preference_loss(
    network: PreferenceNetwork,
    better: Tensor,
    worse: Tensor,
    prompt: Tensor,
    num_prompts: int,
    generator: torch.Generator,
) -> Tensor:
    """-log P(better over worse) - log P(right over wrong prompt), the latter for the worse ones at half
    weight too.

    A small penalty on the score's size fixes the scale, which pairs leave open.
    """
    wrong = other_prompt(prompt, num_prompts, generator)
    score, score_worse = network(better, prompt), network(worse, prompt)
    loss: Tensor = (
        -F.logsigmoid(score - score_worse).mean()
        - F.logsigmoid(score - network(better, wrong)).mean()
        - 0.5 * F.logsigmoid(score_worse - network(worse, wrong)).mean()
        + _SIZE_PENALTY * score.square().mean()
    )
    return loss


@torch.no_grad()
def pair_accuracy(
    network: PreferenceNetwork, kept: Pairs, num_prompts: int, generator: torch.Generator
) -> tuple[dict[str, float], int]:
    """The share of held-out pairs in the right order, by kind, and the number of pairs of each kind.

    Pairs that are drawn, not given, are drawn ten times for each datum.
    """
    repeats = _REPEATS if kept.worse is None else 1
    better = torch.cat([kept.better] * repeats)
    prompts = kept.prompts.repeat(repeats)
    worse = kept.corruption.corrupt(better, generator) if kept.worse is None else kept.worse
    score = network(better, prompts)
    mistaken = network(better, other_prompt(prompts, num_prompts, generator))
    kind = "against_corrupted" if kept.worse is None else "against_rejected"
    return {
        kind: float((score > network(worse, prompts)).float().mean()),
        "against_wrong_prompt": float((score > mistaken).float().mean()),
    }, len(prompts)
