"""What is asked of models, of any number of prompts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from flowmap.data.facts import DataFacts
from flowmap.evaluation.asked import prompts_asked, spread
from flowmap.prompts.facts import PromptFacts
from flowmap.settings import Evaluation


def facts(num: int, kept: Sequence[int] = (), *, alone: bool = True) -> DataFacts:
    prompts = tuple(f"picture {each:05d}" for each in range(num))
    return DataFacts(
        modality="images",
        prompts=prompts,
        shape=(3, 16, 16),
        num_read=num,
        num_duplicates=0,
        splits=dict.fromkeys(("base", "reward", "judge", "holdout"), 0 if alone else num),
        counts={},
        expectations=(),
        prompt_facts=PromptFacts(kept_from_grpo=tuple(prompts[each] for each in kept)) if kept else None,
    )


def test_all_of_some_hundred_prompts_are_asked_for_and_so_many_of_more(tmp_path: Path) -> None:
    assert prompts_asked(Evaluation(), facts(553), tmp_path).unique().tolist() == list(range(553))
    asked = prompts_asked(Evaluation(samples_per_prompt=4), facts(20_000), tmp_path)
    assert len(asked) == 2400
    assert asked[:5].tolist() == [0, 0, 0, 0, 33]
    assert asked[-1] == 19_999
    few = prompts_asked(Evaluation(most_prompts=10), facts(20_000), tmp_path)
    assert few.bincount().max() == 100  # about a thousand samples in all


def test_where_there_are_data_every_prompt_is_asked_for(tmp_path: Path) -> None:
    assert len(prompts_asked(Evaluation(), facts(700, alone=False), tmp_path).unique()) == 700


def test_those_that_grpo_never_drew_are_as_many_as_the_others(tmp_path: Path) -> None:
    kept = range(1000, 1400)
    asked = prompts_asked(Evaluation(most_prompts=100), facts(4000, kept), tmp_path).unique()
    assert sum(int(each) in kept for each in asked) == 50
    assert len(asked) == 100


@pytest.mark.parametrize(
    ("sizes", "most", "taken"),
    [((10, 90), 40, (10, 30)), ((5, 7), 40, (5, 7)), ((100, 3, 100), 13, (5, 3, 5)), ((4,), 2, (2,))],
)
def test_what_one_set_lacks_the_others_give(sizes: Sequence[int], most: int, taken: Sequence[int]) -> None:
    sets, first = [], 0
    for size in sizes:
        sets.append(range(first, first + size))
        first += size
    chosen = spread(sets, most)
    assert chosen == sorted(set(chosen))
    assert tuple(sum(each in one for each in chosen) for one in sets) == taken
