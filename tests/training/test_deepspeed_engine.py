"""What a checkpoint of DeepSpeed holds: what is trained, and nothing that lies elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from flowmap.training.deepspeed_engine import DeepSpeedEngine

FROZEN = 200_000
ROOT = Path(__file__).parents[2]


class Adapted(nn.Module):
    """Large frozen weights, and a few beside them."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.frozen = nn.Parameter(torch.ones(FROZEN), requires_grad=False)
        self.trained = nn.Parameter(torch.randn(8, generator=generator))

    def forward(self) -> torch.Tensor:
        return (self.trained.square().sum() + self.frozen.mean()).square()


def engine_of(network: nn.Module, stage: int) -> DeepSpeedEngine:
    engine = DeepSpeedEngine(stage)
    trained = [each for each in network.parameters() if each.requires_grad]
    engine.prepare(network, torch.optim.AdamW(trained, 0.1), batch=1)
    return engine


def update(engine: DeepSpeedEngine) -> None:
    engine.backward(engine.module())
    engine.step()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_frozen_weights_are_not_in_it_and_training_goes_on_as_if_it_had_not_stopped(
    stage: int, tmp_path: Path
) -> None:
    if stage < 3:
        check(stage, tmp_path)
        return
    call = f"from {__name__} import check; from pathlib import Path; check({stage}, Path({str(tmp_path)!r}))"
    # In a process of its own, for that stage changes torch's functions for all that comes later.
    done = subprocess.run(
        [sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def check(stage: int, tmp_path: Path) -> None:
    network = Adapted(0)
    engine = engine_of(network, stage)
    for _ in range(3):
        update(engine)
    engine.save(tmp_path, {"done": 3})
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < FROZEN  # of four bytes each
    for _ in range(2):
        update(engine)
    other = Adapted(1)
    again = engine_of(other, stage)
    assert again.load(tmp_path)["done"] == 3
    for _ in range(2):
        update(again)
    with engine.whole(network.parameters()), again.whole(other.parameters()):
        assert bool((other.frozen == 1).all())
        assert torch.equal(network.trained, other.trained)


def test_where_nothing_is_frozen_nothing_may_be_missing(tmp_path: Path) -> None:
    class More(Adapted):
        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.frozen.requires_grad_(True)

    engine_of(Adapted(0), 0).save(tmp_path, {})
    with pytest.raises(RuntimeError, match="frozen"):
        engine_of(More(1), 0).load(tmp_path)
