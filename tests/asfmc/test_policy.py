"""A model that is drawn as it was trained."""

import pytest
import torch

from flowmap.asfmc import EndpointAnchor, Policy, kernel_named, roll_out
from flowmap.evaluation.drawing import Drawing
from flowmap.evaluation.entrants import policy_of
from flowmap.grpo_finetuning.step import sampler_of
from flowmap.maps import compose
from flowmap.models import MlpFacts, SamplerFacts
from flowmap.settings import GrpoFinetuning

GRID = (1.0, 0.75, 0.5, 0.25, 0.0)
FACTS = MlpFacts(shape=(3,), prompts=("a", "b"), width=16, depth=1, max_frequency=3.0, grid=GRID)


def noise(num: int, window: int) -> torch.Tensor:
    return torch.randn(num, 1 + window, 3, generator=torch.Generator().manual_seed(1))


def test_it_draws_what_a_rollout_of_the_same_noise_ends_in() -> None:
    torch.manual_seed(0)
    model, policy = FACTS.build(), Policy(EndpointAnchor(), (0, 2))
    condition, given = model.condition(["a"] * 5), noise(5, 2)
    drawn = policy.draw(model.flow_map, given, condition, GRID)
    unused = torch.full((5, 3), torch.nan)
    whole = torch.stack([given[:, 0], given[:, 1], unused, given[:, 2]])
    rolled = roll_out(model.flow_map, EndpointAnchor(), condition, GRID, whole, (0, 2))
    assert [each.index for each in rolled.transitions] == [0, 2]
    assert torch.equal(drawn, rolled.x_0)
    plain = compose(model.flow_map, given[:, 0], condition, GRID)
    assert not torch.allclose(drawn, plain)
    torch.testing.assert_close(
        Policy(EndpointAnchor(), ()).draw(model.flow_map, given[:, :1], condition, GRID), plain
    )


def test_noise_of_transitions_follows_from_what_it_is_for() -> None:
    torch.manual_seed(0)
    model, policy = FACTS.build(), Policy(EndpointAnchor(), (0,))
    prompt = torch.arange(2).repeat_interleave(300)
    drawing = Drawing(FACTS.prompts, prompt, torch.randn(600, 3), ("candidate", "gate"))

    def drawn(by: Drawing) -> torch.Tensor:
        return torch.cat([data for data, _ in by.composed(model, GRID, policy)])

    assert torch.equal(drawn(drawing), drawn(drawing))
    assert not torch.equal(drawn(drawing), drawn(drawing.scaled(0.9)))
    other = Drawing(FACTS.prompts, prompt, drawing.noise, ("candidate", "published"))
    assert not torch.equal(drawn(drawing), drawn(other))
    assert len(drawn(drawing.anew("again"))) == 600


def test_the_settings_say_how_a_model_is_drawn_and_its_facts_keep_it() -> None:
    shipped = GrpoFinetuning(sampler="stochastic", composed=False)
    facts = FACTS.model_copy(update={"sampler": sampler_of(shipped)})
    assert facts.sampler == SamplerFacts(kernel="endpoint", anchor_distance=0.05, window=(0,))
    assert MlpFacts.model_validate_json(facts.model_dump_json()) == facts
    assert policy_of(facts) == Policy(kernel_named("endpoint", 0.05, composed=False), (0,))
    assert sampler_of(GrpoFinetuning()) is None
    assert policy_of(FACTS) is None
    assert "sampler" not in FACTS.model_dump_json()
    every = GrpoFinetuning(sampler="stochastic", composed=False, window=None, kernel="exact_local")
    found = sampler_of(every)
    assert found is not None
    assert found.window == (0, 1, 2)


@pytest.mark.parametrize("more", [{}, {"composed": False, "kernel": "local"}])
def test_a_sampler_that_costs_more_than_it_says_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="set composed to false, and kernel to endpoint or exact_local"):
        GrpoFinetuning.model_validate({"sampler": "stochastic", **more})
