"""ONNX graphs do what the models do that they were made from, at any batch size."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from flowmap.asfmc import EndpointAnchor, Policy
from flowmap.errors import ConfigError, IntegrityError
from flowmap.exporting.graph import condition_of, write_decoder, write_evaluation, write_sampler
from flowmap.maps import compose
from flowmap.models import DitFacts, MlpFacts, ModelFacts
from flowmap.models.model import Model
from flowmap.prompts.vectors import ContextVectors
from tests.text_to_image.facts import FACTS
from tests.text_to_image.tiny import tiny

GRID = (1.0, 0.6, 0.3, 0.0)
POLICY = Policy(EndpointAnchor(composed=False), (0, 1))
SIZES = {"width": 32, "depth": 2, "max_frequency": 3.0}
KINDS: dict[str, ModelFacts] = {
    "mlp": MlpFacts.model_validate({"shape": (1, 4, 4), "prompts": ("a", "b"), **SIZES}),
    "occasions": MlpFacts.model_validate({"shape": (1, 6), "prompts": ("a", "b"), "context": (5,), **SIZES}),
    "dit": DitFacts.model_validate({"shape": (3, 4, 4), "prompts": ("a", "b"), "patch": 2, **SIZES}),
}


def filled(facts: ModelFacts) -> Model:
    """With weights that do something at every layer."""
    torch.manual_seed(7)
    model = facts.build()
    for parameter in model.network.parameters():
        nn.init.normal_(parameter, std=0.2)
    for module in model.network.modules():
        if isinstance(module, ContextVectors):
            nn.init.normal_(module.contexts)
    return model


def run(path: Path, **given: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: np.asarray(value) for name, value in given.items()})
    return torch.from_numpy(found)


@pytest.mark.parametrize("policy", [None, POLICY], ids=["map", "stochastic"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sampler_is_one_graph(kind: str, policy: Policy | None, tmp_path: Path) -> None:
    facts, path = KINDS[kind], tmp_path / "sampler.onnx"
    model = filled(facts)
    write_sampler(model, facts, GRID, policy, path)
    given = condition_of(model, facts, 7)
    condition = model.condition([facts.prompts[index % 2] for index in range(7)])
    if policy is None:
        noise = torch.randn(7, *facts.shape)
        expected = compose(model.flow_map, noise, condition, GRID)
    else:
        noise = torch.randn(7, 3, *facts.shape)
        expected = policy.draw(model.flow_map, noise, condition, GRID)
    torch.testing.assert_close(run(path, noise=noise, **given), expected, rtol=1e-4, atol=1e-4)


def test_one_evaluation_goes_to_any_time(tmp_path: Path) -> None:
    facts, path = KINDS["mlp"], tmp_path / "map.onnx"
    model = filled(facts)
    write_evaluation(model, facts, path)
    state, t, r = torch.randn(3, *facts.shape), torch.tensor([1.0, 0.7, 0.2]), torch.tensor([0.4, 0.0, 0.2])
    prompt = torch.tensor([1, 0, 1])
    expected = model.flow_map.transport(state, t, r, {"prompt": prompt}).detach()
    found = run(path, state=state, t=t, r=r, prompt=prompt)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], state[2])  # nowhere to go


@pytest.mark.filterwarnings("ignore")
def test_pictures_of_a_text_to_image_model_are_decoded_inside(tmp_path: Path) -> None:
    model = tiny(tmp_path / "tiny")
    write_sampler(model, FACTS, GRID, None, tmp_path / "sampler.onnx")
    write_decoder(model, tmp_path / "decode.onnx")
    noise, given = torch.randn(4, *FACTS.latent), condition_of(model, FACTS, 4)
    prompts = [FACTS.prompts[index % len(FACTS.prompts)] for index in range(4)]
    expected = model.sample(prompts, noise, GRID)
    assert expected.shape == (4, *FACTS.shape)
    drawn = run(tmp_path / "sampler.onnx", noise=noise, **given)
    torch.testing.assert_close(drawn, expected, rtol=1e-4, atol=1e-4)
    decoded = run(tmp_path / "decode.onnx", state=noise)
    torch.testing.assert_close(decoded, model.codec.decode(noise), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_what_is_held_in_half_the_bits_is_written_in_all(tmp_path: Path) -> None:
    facts = FACTS.model_copy(update={"precision": "bfloat16"})
    model = tiny(tmp_path / "tiny", facts)
    given = write_evaluation(model, facts, tmp_path / "map.onnx")
    assert {value.dtype for value in given.values()} == {torch.float32}
    assert {value.dtype for value in condition_of(model, facts, 2).values()} == {torch.float32}


def test_a_graph_that_does_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = onnxruntime.InferenceSession

    class Other:
        def __init__(self, path: Path, providers: list[str]) -> None:
            self.real = session(path, providers=providers)

        def run(self, names: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [found + 0.05 for found in self.real.run(names, given)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Other)
    facts = KINDS["mlp"]
    with pytest.raises(IntegrityError, match=r"x.onnx does not do what the model does: .* 0.001 is allowed"):
        write_evaluation(filled(facts), facts, tmp_path / "x.onnx")


def test_what_no_file_holds_is_refused_before_it_is_made(tmp_path: Path) -> None:
    large = Model(nn.Linear(30_000, 30_000, device="meta"), prompts=["a"], shape=(1,))
    with pytest.raises(
        ConfigError, match=r"weights are 3.4 GiB, and an ONNX file holds at most 2: .* diffusers"
    ):
        write_evaluation(large, KINDS["mlp"], tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
