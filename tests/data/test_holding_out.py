"""What is held out is chosen by content within each prompt, whatever order the data come in."""

import torch

from flowmap.data.holding_out import content_digests, held_out
from flowmap.data.prompts import differ_by_case, normal_prompt

DATA = torch.randn((120, 1, 4, 4), generator=torch.Generator().manual_seed(0))
SORTED = torch.arange(4).repeat_interleave(30)


def test_of_a_sorted_source_a_fifth_of_every_prompt_is_held_out() -> None:
    apart = held_out(content_digests(DATA), SORTED)
    assert torch.bincount(SORTED[apart]).tolist() == [6] * 4


def test_another_order_holds_out_the_same_data() -> None:
    digests = content_digests(DATA)
    apart = held_out(digests, SORTED)
    order = torch.randperm(len(DATA), generator=torch.Generator().manual_seed(1))
    again = held_out([digests[index] for index in order.tolist()], SORTED[order])
    assert torch.equal(again, apart[order])


def test_of_equal_data_all_are_held_out_or_none() -> None:
    apart = held_out(content_digests(DATA.repeat(3, 1, 1, 1)), SORTED.repeat(3))
    assert torch.equal(*apart.view(3, -1)[:2])
    assert int(apart.sum()) == 3 * 24


def test_a_prompt_keeps_its_only_datum_for_training_and_one_of_all_is_held_out() -> None:
    digests = content_digests(DATA[:5])
    apart = held_out(digests, torch.arange(5))
    assert int(apart.sum()) == 1
    assert digests[int(apart.nonzero())] == min(digests)
    assert not held_out(digests[:1], torch.zeros(1, dtype=torch.long)).any()
    assert int(held_out(digests[:4], torch.tensor([0, 0, 1, 2])).sum()) == 1


def test_prompts_are_compared_as_they_look() -> None:
    assert normal_prompt(" a\u0308  cat\n") == "\u00e4 cat"
    assert differ_by_case({"Cat": 3, "cat": 20, "dog": 1}) == ["'Cat' (3), 'cat' (20)"]
