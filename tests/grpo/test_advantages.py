"""Laws of group-relative advantages: what they ignore, who has a part in them, and what stops a run."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from flowmap.errors import InvariantError
from flowmap.grpo.advantages import Advantages
from flowmap.grpo.advantages import advantages as of_several
from flowmap.grpo.scoring import nothing_to_buy
from flowmap.rewards import Samples, Weighted
from flowmap.rewards.protocol import FunctionReward

NUM_GROUPS, NUM_MEMBERS = 3, 4


def gaussian(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def advantages(rewards: Tensor) -> Advantages:
    """Those of one reward."""
    return of_several([rewards], [1.0])


def test_advantages_add_up_to_zero_and_ignore_scale_and_offset() -> None:
    rewards = gaussian(NUM_GROUPS, NUM_MEMBERS, seed=2)
    found = advantages(rewards).values
    torch.testing.assert_close(found.sum(1), torch.zeros(NUM_GROUPS), atol=1e-5, rtol=0)
    torch.testing.assert_close(advantages(100 * rewards + 7).values, found, atol=1e-3, rtol=0)


def test_a_group_of_equal_rewards_is_masked_out() -> None:
    rewards = gaussian(NUM_GROUPS, NUM_MEMBERS, seed=3)
    rewards[1] = -0.3
    rewards[1, 0] = torch.nextafter(rewards[1, 0], torch.tensor(0.0))  # equal but for the last digit
    found = advantages(rewards)
    assert found.alive.tolist() == [True, False, True]
    assert not found.values[1].any()


def test_an_infinite_reward_stops_the_run_and_names_the_group() -> None:
    rewards = gaussian(NUM_GROUPS, NUM_MEMBERS, seed=4)
    rewards[2, 1] = math.inf
    with pytest.raises(InvariantError, match=r"infinite in 1 of 3 groups \(first \[2\]\)"):
        advantages(rewards)


def test_a_member_without_a_verdict_leaves_its_group_as_if_it_had_never_been_drawn() -> None:
    rewards = gaussian(NUM_GROUPS, NUM_MEMBERS, seed=4)
    whole = advantages(rewards)
    rewards[1, 2] = math.nan
    found = advantages(rewards)
    assert found.counted.tolist() == [[True] * 4, [True, True, False, True], [True] * 4]
    torch.testing.assert_close(found.values[[0, 2]], whole.values[[0, 2]])
    alone = advantages(rewards[1:2, [0, 1, 3]])
    torch.testing.assert_close(found.values[1, [0, 1, 3]], alone.values[0])
    assert float(found.values[1, 2]) == 0


@pytest.mark.parametrize("scored", [0, 1])
def test_a_group_with_fewer_than_two_verdicts_is_not_alive(scored: int) -> None:
    rewards = gaussian(NUM_GROUPS, NUM_MEMBERS, seed=4)
    rewards[0, scored:] = math.nan
    found = advantages(rewards)
    assert found.alive.tolist() == [False, True, True]
    assert not found.values[0].any()


def test_a_member_that_one_reward_has_no_verdict_on_has_no_part() -> None:
    first, second = gaussian(2, NUM_GROUPS, NUM_MEMBERS, seed=5)
    second[2, 0] = math.nan
    found = of_several([first, second], [1.0, 2.0])
    assert (~found.counted).nonzero().tolist() == [[2, 0]]
    expected = of_several([first[2:, 1:], second[2:, 1:]], [1.0, 2.0])
    torch.testing.assert_close(found.values[2:, 1:], expected.values)


@pytest.mark.parametrize("weights", [(1.0, 3.0), (10.0, 30.0)])
def test_rewards_that_differ_in_the_last_digit_alone_do_not_come_alive(weights: tuple[float, float]) -> None:
    """Not beside another one either, whose own part stays what it is."""
    first, second = gaussian(2, NUM_GROUPS, NUM_MEMBERS, seed=5)
    for reward in (first, second):
        reward[1] = -0.3
        reward[1, 0] = torch.nextafter(reward[1, 0], torch.tensor(0.0))
    found = of_several([first, second], list(weights))
    assert found.alive.tolist() == [True, False, True]
    assert not found.values[1].any()
    second = gaussian(2, NUM_GROUPS, NUM_MEMBERS, seed=5)[1]
    beside = of_several([first, second], list(weights))
    assert beside.alive.all()
    alone = of_several([second], [1.0]).values[1] * 3 / 10**0.5
    torch.testing.assert_close(beside.values[1], alone)


def test_a_reward_with_a_graph_stops_the_run() -> None:
    with pytest.raises(InvariantError, match="graph"):
        advantages(gaussian(NUM_GROUPS, NUM_MEMBERS, seed=4).requires_grad_())


def test_rewards_are_normalised_before_they_are_weighed() -> None:
    small, large = gaussian(2, NUM_GROUPS, NUM_MEMBERS, seed=5)
    mixed = of_several([small, 1000 * large], [1.0, 1.0])
    torch.testing.assert_close(
        mixed.values, of_several([small, large], [1.0, 1.0]).values, atol=1e-2, rtol=0
    )


def test_weights_count_against_each_other_alone() -> None:
    first, second = gaussian(2, NUM_GROUPS, NUM_MEMBERS, seed=5)
    found = of_several([first, second], [1.0, 3.0]).values
    torch.testing.assert_close(of_several([first, second], [2.0, 6.0]).values, found)
    torch.testing.assert_close(of_several([first], [5.0]).values, advantages(first).values)


def test_what_a_reward_is_divided_by_is_a_choice() -> None:
    rewards = gaussian(NUM_GROUPS, NUM_MEMBERS, seed=2)
    rewards[0] *= 10
    centred = rewards - rewards.mean(1, keepdim=True)
    torch.testing.assert_close(of_several([rewards], [1.0], "none").values, centred)
    spread = centred.square().mean().sqrt() + 1e-4
    torch.testing.assert_close(of_several([rewards], [1.0], "batch").values, centred / spread)
    by_group = of_several([rewards], [1.0], "group").values
    torch.testing.assert_close(by_group.std(1), torch.ones(NUM_GROUPS), atol=1e-2, rtol=0)


def test_the_spread_of_the_batch_is_that_of_all_processes() -> None:
    rewards = gaussian(4, NUM_MEMBERS, seed=2)
    rewards[1, 2] = math.nan
    whole = of_several([rewards], [1.0], "batch").values
    halves = [rewards[:2], rewards[2:]]

    told: list[list[Tensor]] = [[], []]
    for half, sums in zip(halves, told, strict=True):

        def keep(value: Tensor, sums: list[Tensor] = sums) -> Tensor:
            sums.append(value)
            return value

        of_several([half], [1.0], "batch", keep)
    totals = [one + other for one, other in zip(*told, strict=True)]
    found = []
    for half in halves:
        left = iter(totals)

        def of_all(_: Tensor, left: Iterator[Tensor] = left) -> Tensor:
            return next(left)

        found.append(of_several([half], [1.0], "batch", of_all).values)
    torch.testing.assert_close(torch.cat(found), whole)


class Paying:
    """A reward that knows what real data get."""

    def __init__(self, name: str, real: float | None) -> None:
        self.name, self.real_reward = name, real

    def score(self, samples: Samples) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("real", "told"),
    [
        ({"a": -0.3}, "a -0.200, real data -0.300"),
        ({"a": -0.1}, None),
        ({"a": -0.3, "b": 0.1}, None),
        ({"a": -0.3, "b": -0.1}, "a -0.200, real data -0.300, b 0.000, real data -0.100"),
        ({"a": None, "b": None}, None),  # distances alone
        ({"a": None, "b": -0.1}, "b 0.000, real data -0.100"),
    ],
)
def test_it_is_told_when_no_reward_has_anything_left_to_pay_for(
    real: dict[str, float | None], told: str | None
) -> None:
    rewards = [Weighted(Paying(name, value)) for name, value in real.items()]
    found = nothing_to_buy(rewards, {"reward_a": -0.2, "reward_b": 0.0})
    assert (found is None) == (told is None)
    assert told is None or (found is not None and told in found)


def test_what_a_reward_of_ones_own_may_have_to_pay_for_nobody_knows() -> None:
    rewards = [Weighted(Paying("a", -0.3)), Weighted(FunctionReward(lambda samples: 0.0, "own"))]
    assert nothing_to_buy(rewards, {"reward_a": -0.2, "reward_own": 0.0}) is None
