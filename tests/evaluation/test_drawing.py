"""Parts that are drawn side by side are those that are drawn one after the other."""

import threading
import time

import pytest
import torch

from flowmap.evaluation.drawing import Drawing, side_by_side
from flowmap.models import MlpFacts

FACTS = MlpFacts(shape=(3,), prompts=("a", "b"), width=16, depth=1, max_frequency=3.0)


def test_they_come_in_their_order_and_few_are_kept() -> None:
    alive, most, lock = [0], [0], threading.Lock()

    def slow(item: int) -> int:
        with lock:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
        time.sleep(0.002 * (5 - item % 5))
        return item

    found = []
    for item in side_by_side(slow, range(40)):
        with lock:
            alive[0] -= 1
        found.append(item)
    assert found == list(range(40))
    assert most[0] <= 6  # those under way, and the one that is looked at


def test_an_error_in_a_part_is_the_callers() -> None:
    def fail(item: int) -> int:
        raise ValueError(item)

    with pytest.raises(ValueError, match="7"):
        list(side_by_side(fail, [7]))


def test_samples_do_not_depend_on_the_threads() -> None:
    torch.manual_seed(0)
    model = FACTS.build()
    prompt = torch.arange(2).repeat_interleave(600)
    drawing = Drawing(FACTS.prompts, prompt, torch.randn(1200, 3))
    parts = list(drawing.composed(model, (1.0, 0.5, 0.0)))
    assert [len(data) for data, _ in parts] == [256] * 4 + [176]
    whole = model.sample([FACTS.prompts[each] for each in prompt], drawing.noise, (1.0, 0.5, 0.0))
    torch.testing.assert_close(torch.cat([data for data, _ in parts]), whole)
    assert torch.equal(torch.cat([each for _, each in parts]), prompt)
