"""The log-probability that a classifier gives a sample's prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from flowmap.errors import ConfigError
from flowmap.prompts.facts import PromptFacts
from flowmap.prompts.heads import prompt_head
from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import Samples
from flowmap.rewards.trained import PromptIndex, read_network, read_trained_facts, write_network
from flowmap.settings import ClassifierSettings

_NAME = "classifier"
_MEMBERS = 3


class ClassifierFacts(BaseModel):
    """How well a classifier does on real data that it was not trained on.

    Attributes:
        real_accuracy, real_log_probability: of their prompts, the latter on average.
        real_reward: what they get where a log-probability counts up to that average.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    real_accuracy: float
    real_log_probability: float
    real_reward: float


class Classifier(nn.Module):
    """Log-probabilities of the prompts for x (batch, *shape): the mean of three networks' probabilities.

    What one of them can be talked into, the others need not see. Of another architecture than two of the
    evaluation's three judges, and trained on other data than all of them.
    """

    def __init__(self, shape: tuple[int, ...], num_prompts: int, facts: PromptFacts | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(_member(shape, num_prompts, facts) for _ in range(_MEMBERS))

    def logits(self, x: Tensor) -> Tensor:
        """Of each network, shape (networks, batch, prompts): what they are trained by, each for itself."""
        return torch.stack([member(x) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.logits(x).log_softmax(-1).logsumexp(0) - math.log(_MEMBERS)
        return mean


def _member(shape: tuple[int, ...], num_prompts: int, facts: PromptFacts | None) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(math.prod(shape), 256),
        nn.SiLU(),
        nn.Dropout(0.4),
        nn.Linear(256, 128),
        nn.SiLU(),
        nn.Dropout(0.4),
        prompt_head(128, num_prompts, facts),
    )


class ClassifierReward:
    """log p(prompt | x), or the smaller of it and what real data get: beyond that nothing is gained.

    Args:
        model: logits of x (batch, *data), (batch, prompts).
        prompts: what the logits' indices mean.
        ceiling: the largest reward there is.
        real_reward: what real data get as this reward, on average.
    """

    def __init__(
        self,
        model: nn.Module,
        prompts: Sequence[str],
        ceiling: float | None = None,
        *,
        name: str = "classifier",
        real_reward: float | None = None,
    ) -> None:
        self.name, self.model, self.ceiling, self.real_reward = name, model, ceiling, real_reward
        self._index = PromptIndex(prompts)

    def score(self, samples: Samples) -> Tensor:
        x = samples.data
        index = self._index.of(samples)
        log_probability = self.model(x.flatten(0, 1)).log_softmax(1).unflatten(0, x.shape[:2])
        chosen: Tensor = log_probability.gather(2, index[:, None, None].expand(*x.shape[:2], 1))[..., 0]
        return chosen if self.ceiling is None else chosen.clamp(max=self.ceiling)


def build(settings: ClassifierSettings, materials: Materials) -> ClassifierReward:
    """Raises ConfigError when reward_training made no classifier."""
    if not has_classifier(materials.trained):
        raise ConfigError("there is no classifier: set reward_training.classifier_updates")
    model, facts = read_classifier(materials.trained)
    ceiling = facts.real_log_probability if settings.saturating else None
    prompts = read_trained_facts(materials.trained).prompts
    real = facts.real_reward if settings.saturating else facts.real_log_probability
    return ClassifierReward(
        model.to(materials.device), prompts, ceiling, name=settings.label, real_reward=real
    )


def has_classifier(directory: Path) -> bool:
    """Whether reward_training made one."""
    return (directory / f"{_NAME}.safetensors").is_file()


def write_classifier(directory: Path, model: Classifier, facts: ClassifierFacts) -> None:
    write_network(directory, _NAME, model, facts)


def read_classifier(directory: Path) -> tuple[Classifier, ClassifierFacts]:
    """The network, in evaluation mode and without gradients, and its facts."""
    trained = read_trained_facts(directory)
    fresh = Classifier(trained.shape, len(trained.prompts), trained.prompt_facts)
    return read_network(directory, _NAME, fresh, ClassifierFacts)
