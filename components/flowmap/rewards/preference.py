"""A Bradley-Terry preference model, and its score, saturated at what real data get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from flowmap.prompts.vectors import prompt_vectors
from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import Samples
from flowmap.rewards.trained import PromptIndex, read_network, read_trained_facts, write_network
from flowmap.settings import PreferenceSettings

_NAME = "preference"


class PreferenceFacts(BaseModel):
    """How well a preference model does.

    Attributes:
        real_score: mean score of real data that it was not trained on, where the reward saturates.
        real_reward: what those data get as the reward that saturates there, on average.
        pair_accuracy: share of held-out pairs of each kind that it puts in the right order.
        num_pairs: held-out pairs of each kind.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    real_score: float
    real_reward: float
    pair_accuracy: dict[str, float]
    num_pairs: int


class PreferenceNetwork(nn.Module):
    """A scalar score of x (batch, *shape) for prompt (batch,); P(x over y) = sigmoid(score(x) - score(y)).

    The dropout is heavy because preferences are few: without it the score of real images it has not seen
    falls below that of samples, and GRPO is paid for leaving the data.

    Args:
        context: the shape of what is known beforehand, where each prompt is an occasion.

    Source: Bradley and Terry (1952).
    """

    def __init__(
        self, shape: tuple[int, ...], num_prompts: int, context: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(math.prod(shape), 256), nn.Linear(256, 128)
        self.prompt = prompt_vectors(num_prompts, 128, context)
        self.third, self.score = nn.Linear(128, 64), nn.Linear(64, 1)
        self.drop_pixels, self.drop_features = nn.Dropout(0.1), nn.Dropout(0.3)

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        hidden = self.drop_features(F.silu(self.first(self.drop_pixels(x.flatten(1)))))
        hidden = self.drop_features(F.silu(self.second(hidden) * (1 + self.prompt(prompt))))
        score: Tensor = self.score(F.silu(self.third(hidden)))[:, 0]
        return score


def saturated(score: Tensor, real_score: float) -> Tensor:
    """A reward that pays less and less beyond what real data score."""
    return F.logsigmoid(score - real_score)


class PreferenceReward:
    """R = log sigmoid(score - real_score), or the raw score.

    A learnt score is only right near its data: the saturating form stops paying where real data are.

    Args:
        model: scores x (batch, *data) for the index of each one's prompt (batch,).
        prompts: what the indices mean.
        real_score: the mean score of real data.
        real_reward: what real data get as this reward, on average.
    """

    def __init__(
        self,
        model: PreferenceNetwork,
        prompts: Sequence[str],
        real_score: float,
        *,
        saturating: bool = True,
        name: str = "preference",
        real_reward: float | None = None,
    ) -> None:
        self.name, self.real_reward = name, real_reward
        self.model, self.real_score, self.saturating = model, real_score, saturating
        self._index = PromptIndex(prompts)

    def score(self, samples: Samples) -> Tensor:
        x = samples.data
        index = self._index.of(samples)
        num_groups, num_members = x.shape[:2]
        score: Tensor = self.model(x.flatten(0, 1), index.repeat_interleave(num_members))
        reward = saturated(score, self.real_score) if self.saturating else score
        return reward.view(num_groups, num_members)


def build(settings: PreferenceSettings, materials: Materials) -> PreferenceReward:
    model, facts = read_preference(materials.trained)
    return PreferenceReward(
        model.to(materials.device),
        read_trained_facts(materials.trained).prompts,
        facts.real_score,
        saturating=settings.saturating,
        name=settings.label,
        real_reward=facts.real_reward if settings.saturating else facts.real_score,
    )


def write_preference(directory: Path, model: PreferenceNetwork, facts: PreferenceFacts) -> None:
    write_network(directory, _NAME, model, facts)


def read_preference(directory: Path) -> tuple[PreferenceNetwork, PreferenceFacts]:
    """The network, in evaluation mode and without gradients, and its facts."""
    trained = read_trained_facts(directory)
    fresh = PreferenceNetwork(trained.shape, len(trained.prompts), trained.context)
    return read_network(directory, _NAME, fresh, PreferenceFacts)
