"""The classifier that a reward may ask for: three networks, trained on the reward split."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from flowmap.data.dataset import Split
from flowmap.progress import Progress, say
from flowmap.prompts.facts import PromptFacts
from flowmap.rewards.classifier import Classifier, ClassifierFacts, write_classifier
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import RewardTraining

_JITTER = 0.2
_WEIGHT_DECAY = 0.1
_SMOOTHING = 0.05


def train_classifier(
    directory: Path,
    section: RewardTraining,
    num_updates: int,
    shape: tuple[int, ...],
    num_prompts: int,
    prompt_facts: PromptFacts | None,
    real: Split,
    unseen: Tensor,
) -> None:
    """Train on all of the split but the masked `unseen`, which say what real data get, and write it."""
    torch.manual_seed(derived_seed(section.seed, "classifier", "weights"))
    generator = generator_for(section.seed, "classifier", "batches")
    model = Classifier(shape, num_prompts, prompt_facts)
    optimizer = torch.optim.AdamW(model.parameters(), section.learning_rate, weight_decay=_WEIGHT_DECAY)
    seen = (~unseen).nonzero()[:, 0]
    with Progress("reward_training: classifier", num_updates) as progress:
        for _ in range(num_updates):
            chosen = seen[torch.randint(len(seen), (section.batch_size,), generator=generator)]
            x = real.data[chosen]
            strength = _JITTER * torch.rand(len(x), *([1] * (x.dim() - 1)), generator=generator)
            noisy = x + strength * torch.randn(x.shape, generator=generator)  # to be smooth near the data
            logits, prompts = model.logits(noisy).flatten(0, 1), real.prompts[chosen]
            loss = F.cross_entropy(
                logits, prompts.repeat(len(model.members)), label_smoothing=_SMOOTHING
            ) * len(model.members)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.update(loss=float(loss.detach()))
    model.eval()
    with torch.no_grad():
        told = model(real.data[unseen])
    right = told.argmax(1) == real.prompts[unseen]
    log_probability = told.gather(1, real.prompts[unseen, None])
    facts = ClassifierFacts(
        real_accuracy=float(right.float().mean()),
        real_log_probability=float(log_probability.mean()),
        real_reward=float(log_probability.clamp(max=float(log_probability.mean())).mean()),
    )
    write_classifier(directory, model, facts)
    say(f"reward_training: the classifier is right on {facts.real_accuracy:.3f} of held-out real data")
