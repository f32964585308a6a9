"""Rewards that compute elsewhere are asked while others are drawn, and say what they would afterwards."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowmap.errors import RewardError
from flowmap.grpo.asking import Asking
from flowmap.grpo.trainer import Grpo
from flowmap.models import MlpFacts
from flowmap.rewards import Samples
from flowmap.rewards.protocol import Prompt, Weighted
from flowmap.settings import GrpoSettings

_SHAPE, _PROMPTS = (1, 4, 4), ("a", "b")
_WAIT_S = 30


class Elsewhere:
    """A function as a reward that may be asked at any time."""

    name, elsewhere = "elsewhere", True

    def __init__(self, function: Callable[[Samples], Tensor]) -> None:
        self.function = function
        self.num_groups: list[int] = []

    def score(self, samples: Samples) -> Tensor:
        self.num_groups.append(len(samples.prompts))
        return self.function(samples)


class Here(Elsewhere):
    elsewhere = False


def best_of_its_group(samples: Samples) -> Tensor:
    """A reward that depends on the group, its prompt and what that demands."""
    brightness = samples.data.flatten(2).mean(2)
    factor = torch.tensor([fact["factor"] * (1 + (prompt == "a")) for prompt, fact in _told(samples)])
    return (brightness - brightness.max(1, keepdim=True).values) * factor[:, None]


def _told(samples: Samples) -> list[tuple[str, dict[str, float]]]:
    return [(each, dict(fact)) for each, fact in zip(samples.prompts, samples.facts, strict=True)]


def trainer(reward: Elsewhere, micro_batch: int | None) -> Grpo:
    torch.manual_seed(0)
    model = MlpFacts(shape=_SHAPE, prompts=_PROMPTS, width=32, depth=2, max_frequency=3.0).build()
    settings = GrpoSettings(groups=6, group_size=4, grid=(1.0, 0.5, 0.05, 0.0), micro_batch=micro_batch)
    prompts = [Prompt("a", {"factor": 1.0}), Prompt("b", {"factor": 3.0})]
    return Grpo(model, [reward], prompts, settings)


@pytest.mark.parametrize(
    ("micro_batch", "num_groups"), [(None, [6]), (8, [2, 2, 2]), (10, [2, 3, 1]), (3, [1, 1, 1, 1, 1, 1])]
)
def test_what_is_asked_meanwhile_trains_as_what_is_asked_at_the_end(
    micro_batch: int | None, num_groups: list[int]
) -> None:
    meanwhile, afterwards = Elsewhere(best_of_its_group), Here(best_of_its_group)
    one, other = trainer(meanwhile, micro_batch), trainer(afterwards, micro_batch)
    told, expected = (
        {name: value for name, value in each.rollout(0).items() if not name.endswith("elsewhere")}
        for each in (one, other)
    )
    assert told == expected
    assert (meanwhile.num_groups, afterwards.num_groups) == (num_groups, [6])
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_group_is_asked_about_before_the_next_is_drawn() -> None:
    asked = threading.Event()

    def told(samples: Samples) -> Tensor:
        asked.set()
        return torch.zeros(samples.data.shape[:2])

    with Asking([Weighted(Elsewhere(told))], [Prompt("a"), Prompt("b")], group_size=2) as asking:
        asking.add(torch.zeros(3, *_SHAPE))
        assert asked.wait(_WAIT_S)
        asking.add(torch.zeros(1, *_SHAPE))
        assert asking.scores().values[0].shape == (2, 2)


def test_nothing_keeps_a_graph_in_the_thread_either() -> None:
    weight = torch.ones((), requires_grad=True)
    reward = Elsewhere(lambda samples: samples.data.flatten(2).mean(2) * weight)
    with Asking([Weighted(reward)], [Prompt("a")], group_size=2) as asking:
        asking.add(torch.zeros(2, *_SHAPE))
        assert not asking.scores().values[0].requires_grad


def test_a_service_that_stays_away_ends_the_rollout() -> None:
    def away(samples: Samples) -> Tensor:
        raise RewardError("reward elsewhere: it stays away")

    reward = Elsewhere(away)
    with pytest.raises(RewardError, match="stays away"):
        trainer(reward, 4).rollout(0)


def test_what_goes_wrong_in_drawing_does_not_wait_for_all_that_was_asked() -> None:
    goes_on, begun = threading.Event(), threading.Event()

    def slow(samples: Samples) -> Tensor:
        begun.set()
        assert goes_on.wait(_WAIT_S)
        return torch.zeros(samples.data.shape[:2])

    reward = Elsewhere(slow)

    def draw_badly() -> None:
        with Asking([Weighted(reward)], [Prompt("a")] * 3, group_size=1) as asking:
            for _ in range(3):
                asking.add(torch.zeros(1, *_SHAPE))
            assert begun.wait(_WAIT_S)
            threading.Timer(0.2, goes_on.set).start()
            raise MemoryError

    with pytest.raises(MemoryError):
        draw_badly()
    assert reward.num_groups == [1]
