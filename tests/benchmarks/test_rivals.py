"""The methods that Flow-Map GRPO is held beside: each draws from what it has trained so far."""

import copy
import itertools

import pytest
import torch
from benchmarks import rivals

from flowmap.data.dataset import Split
from flowmap.evaluation.drawing import Drawing
from flowmap.models import MlpFacts
from flowmap.rewards.protocol import Samples, weighted
from flowmap.settings import GrpoSettings

TRAINED = {
    "Flow-Map GRPO": rivals.flow_map_grpo,
    "Flow-GRPO": rivals.flow_grpo,
    "reward gradient": rivals.reward_gradient,
    "reward gradient, last map": rivals.last_map_gradient,
    "MeanFlow-NFT": rivals.mean_flow_nft,
    "DiffusionNFT": rivals.diffusion_nft,
    "trained on": rivals.trained_on,
}


class ToTheRight:
    """A reward with a gradient, which a plain function has not."""

    name = "to the right"

    def score(self, samples: Samples) -> torch.Tensor:
        return samples.data[..., 0]


@pytest.fixture
def ground() -> rivals.Ground:
    torch.manual_seed(0)
    facts = MlpFacts(shape=(2,), prompts=("a", "b"), width=16, depth=1, max_frequency=3.0, modality="points")
    data = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    return rivals.Ground(
        base=facts.build(),
        baseline=facts.build(),
        rewards=[weighted(ToTheRight())],
        prompts=("a", "b"),
        data=Split(data, torch.arange(64) % 2),
        settings=GrpoSettings(grid=(1.0, 0.5, 0.0), groups=2, group_size=8, window=(0,), learning_rate=1e-3),
    )


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_drawn_changes_with_every_round(ground: rivals.Ground, name: str) -> None:
    noise = torch.randn(16, 2, generator=torch.Generator().manual_seed(2))
    drawing = Drawing(("a", "b"), torch.arange(16) % 2, noise)
    before = copy.deepcopy(ground.base.network.state_dict())
    drawn = [
        torch.cat([x for x, _ in draw(drawing)])
        for draw in itertools.islice(TRAINED[name](ground, 0.1, 0), 3)
    ]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])
    for key, value in ground.base.network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)  # the base stays what it was
