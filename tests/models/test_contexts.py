"""Networks whose prompts are occasions."""

import torch

from flowmap.models import MlpFacts
from flowmap.prompts.vectors import fill_contexts

CONTEXTS = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


def network_and_facts() -> tuple[torch.nn.Module, MlpFacts]:
    torch.manual_seed(0)
    facts = MlpFacts(
        shape=(4,),
        prompts=("after 1", "after 2", "after 3"),
        width=16,
        depth=1,
        max_frequency=3.0,
        modality="series",
        context=(6,),
    )
    network = facts.network()
    for each in network.parameters():  # some start at zero, and then nothing depends on the prompt
        torch.nn.init.normal_(each, std=0.3)
    fill_contexts(network, CONTEXTS)
    return network, facts


def test_a_prompt_is_what_was_known_at_it() -> None:
    network, _ = network_and_facts()
    x, t = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([1.0, 0.5])
    chosen = torch.tensor([2, 0])
    by_name = network(x, t, t / 2, {"prompt": chosen})
    torch.testing.assert_close(network(x, t, t / 2, {"context": CONTEXTS[chosen]}), by_name)
    assert not torch.allclose(network(x, t, t / 2, {"context": CONTEXTS[[2, 1]]})[1], by_name[1])


def test_contexts_are_saved_with_the_weights() -> None:
    network, facts = network_and_facts()
    other = facts.network()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.state_dict()["prompt.contexts"], CONTEXTS)


def test_its_size_is_counted() -> None:
    network, facts = network_and_facts()
    assert facts.size().parameters == sum(each.numel() for each in network.parameters())
