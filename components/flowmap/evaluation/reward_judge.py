"""A reward as the judge, where prompts come without data: nothing is trained, and what it is worth is what
the reward is worth.

What stands for real data are pictures of the many-step baseline: a candidate should fit its prompts better
than the base does, and stay near what the model draws when it takes its time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from flowmap.data.facts import DataFacts
from flowmap.errors import RewardError
from flowmap.evaluation.drawing import in_parts
from flowmap.evaluation.features import Features
from flowmap.evaluation.judge import Opinion
from flowmap.prompts.facts import PromptFacts
from flowmap.rewards.protocol import Explaining, Reward, Samples, Weighted

_NO_PROMPT = -1


class RewardJudge:
    """What a reward says of samples, each by itself.

    Args:
        reward: it looks at groups of one.
        facts: of the data, whose prompts indices mean.
        features: what distances are measured in.
        fulfilled: the score from which a sample shows its prompt; None leaves that to `set_by`.
    """

    least, capped = -math.inf, False  # a reward has no end that real data would set
    calibration_error = 0.0  # it gives no probabilities

    def __init__(
        self, reward: Reward, facts: DataFacts, features: Features, fulfilled: float | None = None
    ) -> None:
        self.reward, self.facts, self.features = reward, facts, features
        self.fulfilled = torch.full((len(facts.prompts),), math.inf if fulfilled is None else fulfilled)

    def set_by(self, data: Tensor, prompt: Tensor, device: torch.device) -> None:
        """Count as right what gets at least the mean of those samples of its prompt.

        Args:
            data: (N, *shape); prompt: of each, (N,), every prompt among them.
        """
        parts = [self._scores(x.to(device), index) for x, index in in_parts(data, prompt)]
        scores, total = torch.cat(parts).cpu(), torch.zeros(len(self.fulfilled))
        total.index_add_(0, prompt, scores)
        self.fulfilled = total / torch.bincount(prompt, minlength=len(total))

    def read(self, x: Tensor, prompt: Tensor) -> Opinion:
        """Of samples (batch, *data); raises RewardError where there is no verdict at all."""
        score = self._scores(x, prompt)
        right = score >= self.fulfilled.to(score)[prompt]
        return Opinion(score, right, torch.where(right, prompt, _NO_PROMPT))

    def met(self, x: Tensor, prompt: Tensor) -> list[Mapping[str, bool]]:
        """What is asked of each of samples (batch, *data), as far as the reward knows."""
        if not isinstance(self.reward, Explaining):
            return [{} for _ in prompt]
        return [mine for group in self.reward.met(_alone(x, prompt, self.facts)) for mine in group]

    def _scores(self, x: Tensor, prompt: Tensor) -> Tensor:
        """No verdict counts as the worst there was."""
        score = scores_of(self.reward, x, prompt, self.facts)
        unknown = score.isnan()
        if unknown.all():
            raise RewardError(
                f"evaluation.rewards: {self.reward.name} is the judge, and gave no verdict on any of "
                f"{len(x)} samples"
            )
        return torch.where(unknown, score[~unknown].min(), score)


class PaidRewards(nn.Module):
    """What GRPO was paid: the sum of its rewards, each with its weight, of every sample by itself."""

    def __init__(self, rewards: Sequence[Weighted], facts: DataFacts) -> None:
        super().__init__()
        self.rewards, self.facts = rewards, facts

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        """Of samples (batch, *data) for prompts (batch,); a reward without a verdict adds nothing."""
        each: Iterable[Tensor] = (
            one.weight * scores_of(one.reward, x, prompt, self.facts).nan_to_num() for one in self.rewards
        )
        return torch.stack(list(each)).sum(0)


def scores_of(reward: Reward, x: Tensor, prompt: Tensor, facts: DataFacts) -> Tensor:
    """A reward's scores of samples (batch, *data), each a group of one, (batch,)."""
    return reward.score(_alone(x, prompt, facts))[:, 0].float()


def _alone(x: Tensor, prompt: Tensor, facts: DataFacts) -> Samples:
    """Each as a group of one."""
    known, index = facts.prompt_facts or PromptFacts(), prompt.tolist()
    return Samples(
        x[:, None], [facts.prompts[each] for each in index], [known.demanded(each) for each in index]
    )
