"""Models as everything else sees them: conditions that nobody looks into, codecs, references that stay."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowmap.errors import ConfigError, IntegrityError
from flowmap.grpo.trainer import Grpo
from flowmap.maps import Condition, FlowMap, OneTimeMap
from flowmap.models import MlpFacts
from flowmap.models.model import Model, PromptTable
from flowmap.models.storing import load_model, read_model_facts, save_weights, write_model_facts
from flowmap.rewards import Samples
from flowmap.settings import GrpoSettings
from flowmap.training.engine import TorchEngine

FACTS = MlpFacts(shape=(1, 4, 4), prompts=("a", "b"), width=16, depth=1, max_frequency=3.0)


class TextNetwork(nn.Module):
    """Takes a condition of two leaves, one of them with a dimension of its own, and one time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2 + 1 + 3 + 4, 2)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        tokens = condition["tokens"].mean(1)
        return torch.as_tensor(self.layer(torch.cat([x, t[:, None], condition["pooled"], tokens], 1)))


class Letters:
    """A conditioner that makes tensors of a text's letters."""

    def encode(self, prompts: Sequence[str]) -> Condition:
        pooled = torch.tensor([[float(len(p)), float(p.count("e")), 1.0] for p in prompts])
        return {"pooled": pooled, "tokens": pooled[:, :1, None].expand(-1, 5, 4)}


class Halved:
    """States are half of the data, with the last dimension left out."""

    state_shape = (2,)

    def encode(self, data: Tensor) -> Tensor:
        return data[..., :2] / 2

    def decode(self, state: Tensor) -> Tensor:
        return torch.cat([state * 2, torch.ones(len(state), 1)], 1)


def one_time(network: Any) -> FlowMap:
    return OneTimeMap(network, "velocity")


def text_model() -> Model:
    torch.manual_seed(0)
    return Model(TextNetwork(), conditioner=Letters(), codec=Halved(), make_map=one_time)


def test_grpo_takes_any_condition_any_codec_and_one_time_maps() -> None:
    seen: list[Samples] = []

    def reward(samples: Samples) -> Tensor:
        seen.append(samples)
        return samples.data[..., 0]

    model, settings = (
        text_model(),
        GrpoSettings(kernel="endpoint", grid=(1.0, 0.5, 0.0), groups=2, group_size=4),
    )
    figures = Grpo(model, [reward], ["three", "eleven"], settings).rollout(0)
    (samples,) = seen
    assert samples.data.shape == (2, 4, 3)
    assert bool((samples.data[..., 2] == 1).all())
    assert set(samples.prompts) <= {"three", "eleven"}
    assert figures["drift"] < 0.1


@pytest.mark.parametrize("kernel", ["local", "exact_local"])
def test_a_kernel_that_takes_two_times_is_refused_for_a_map_of_one(kernel: str) -> None:
    model = Model(TextNetwork(), conditioner=Letters(), codec=Halved(), make_map=one_time)
    settings = GrpoSettings.model_validate({"grid": [1.0, 0.5, 0.0], "kernel": kernel})
    with pytest.raises(ConfigError, match=f"the kernel '{kernel}' .* knows one time only: set kernel"):
        Grpo(model, [lambda samples: samples.data[..., 0]], ["a"], settings, TorchEngine())


def test_the_reference_stays_while_the_network_is_trained() -> None:
    model = text_model()
    x, t = torch.randn(3, 2), torch.ones(3)
    condition = model.condition(["a", "bee", "see"])
    model.freeze_reference()
    with model.reference() as reference:
        before = model.flow_map.velocity(x, t, condition).detach()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        torch.testing.assert_close(reference.velocity(x, t, condition), before)
        assert not torch.allclose(model.flow_map.velocity(x, t, condition), before)
        assert not reference.velocity(x, t, condition).requires_grad


def test_only_what_requires_a_gradient_is_trained() -> None:
    model = text_model()
    model.network.requires_grad_(False)
    assert list(model.parameters()) == []


def test_a_table_names_a_prompt_that_it_does_not_know() -> None:
    table = PromptTable(["a", "b"])
    assert table.encode(["b", "a", "b"])["prompt"].tolist() == [1, 0, 1]
    with pytest.raises(ConfigError, match="prompt 'c': the model knows a, b"):
        table.encode(["a", "c"])


def test_a_model_is_kept_and_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = FACTS.build()
    write_model_facts(tmp_path, FACTS)
    save_weights(model.network.state_dict(), tmp_path / "map.safetensors")
    again = load_model(tmp_path, "map")
    noise, prompts = torch.randn(4, 1, 4, 4), ["a", "b", "b", "a"]
    torch.testing.assert_close(
        again.sample(prompts, noise, (1.0, 0.0)), model.sample(prompts, noise, (1.0, 0.0))
    )
    assert read_model_facts(tmp_path) == FACTS
    assert not list(again.parameters())


def test_weights_or_facts_that_do_not_fit_are_told(tmp_path: Path) -> None:
    write_model_facts(tmp_path, FACTS)
    save_weights(nn.Linear(2, 2).state_dict(), tmp_path / "map.safetensors")
    with pytest.raises(IntegrityError, match=r"map\.safetensors does not fit model\.json"):
        load_model(tmp_path, "map")
    told = json.loads(FACTS.model_dump_json())
    (tmp_path / "model.json").write_text(json.dumps({**told, "kind": "diffusers"}))
    with pytest.raises(
        IntegrityError, match=r"model\.json can't be read: kind: .*'diffusers'.*'modulated_mlp'"
    ):
        read_model_facts(tmp_path)


def test_the_plain_engine_restores_what_it_saved(tmp_path: Path) -> None:
    def engine_of(model: Model) -> TorchEngine:
        engine = TorchEngine(torch.device("cpu"))
        engine.prepare(model.network, torch.optim.AdamW(model.parameters(), 1e-2), batch=3)
        return engine

    def update(engine: TorchEngine, seed: int) -> None:
        x = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed))
        condition = Letters().encode(["a", "bee", "see"])
        engine.backward(engine.module(x, torch.ones(3), condition).square().mean())
        engine.step()

    first = engine_of(text_model())
    update(first, 0)
    first.save(tmp_path, {"done": 1})
    update(first, 1)
    second = engine_of(text_model())
    assert second.load(tmp_path) == {"done": 1}
    update(second, 1)
    for one, other in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(one, other)
