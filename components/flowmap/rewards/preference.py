"""A Bradley-Terry preference model, and its score, saturated at what real data get."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from flowmap.networks.stored import save_weights

FACTS, WEIGHTS, REFERENCE = "reward.json", "preference.safetensors", "reference.safetensors"


class PreferenceFacts(BaseModel):
    """What a preference model was trained on and how well it does.

    Attributes:
        shape: of one sample; num_prompts: prompts are integers below it.
        real_score: mean score of real data that it was not trained on, where the reward saturates.
        pair_accuracy: share of held-out pairs of each kind that it puts in the right order.
        num_pairs: held-out pairs of each kind.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    shape: tuple[int, ...]
    num_prompts: int
    real_score: float
    pair_accuracy: dict[str, float]
    num_pairs: int


class PreferenceNetwork(nn.Module):
    """A scalar score of x (batch, *shape) for prompt (batch,); P(x over y) = sigmoid(score(x) - score(y)).

    The dropout is heavy because preferences are few: without it the score of real images it has not seen falls below
    that of samples, and GRPO is paid for leaving the data.

    Source: Bradley and Terry (1952).
    """

    def __init__(self, shape: tuple[int, ...], num_prompts: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(math.prod(shape), 256), nn.Linear(256, 128)
        self.prompt = nn.Embedding(num_prompts, 128)
        self.third, self.score = nn.Linear(128, 64), nn.Linear(64, 1)
        self.drop_pixels, self.drop_features = nn.Dropout(0.1), nn.Dropout(0.3)

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        hidden = self.drop_features(F.silu(self.first(self.drop_pixels(x.flatten(1)))))
        hidden = self.drop_features(F.silu(self.second(hidden) * (1 + self.prompt(prompt))))
        score: Tensor = self.score(F.silu(self.third(hidden)))[:, 0]
        return score


class PreferenceReward:
    """R = log sigmoid(score - real_score), or the raw score.

    A learnt score is only right near its data: the saturating form stops paying where real data are.
    """

    def __init__(self, network: PreferenceNetwork, real_score: float, *, saturating: bool) -> None:
        self.network, self.real_score, self.saturating = network, real_score, saturating

    @torch.no_grad()
    def __call__(self, x: Tensor, prompt: Tensor) -> Tensor:
        num_groups, num_members = x.shape[:2]
        score: Tensor = self.network(x.flatten(0, 1), prompt.repeat_interleave(num_members))
        reward = F.logsigmoid(score - self.real_score) if self.saturating else score
        return reward.view(num_groups, num_members)


def write_preference(directory: Path, network: PreferenceNetwork, facts: PreferenceFacts) -> None:
    save_weights(network, directory / WEIGHTS)
    (directory / FACTS).write_text(facts.model_dump_json(indent=1))


def read_preference(directory: Path) -> tuple[PreferenceNetwork, PreferenceFacts]:
    """The network, in evaluation mode and without gradients, and its facts."""
    facts = PreferenceFacts.model_validate_json((directory / FACTS).read_bytes())
    network = PreferenceNetwork(facts.shape, facts.num_prompts)
    network.load_state_dict(load_file(directory / WEIGHTS))
    return network.eval().requires_grad_(False), facts
