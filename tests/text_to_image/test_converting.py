"""A flow-matching checkpoint as the beginning of a map of two times."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from flowmap.errors import ConfigError
from flowmap.maps import TwoTimeMap
from flowmap.models.facts import FluxFacts
from flowmap.models.storing import load_model, read_model_facts
from flowmap.settings import Checkpoint, RunConfig
from flowmap.text_to_image.building import build
from flowmap.text_to_image.checkpoints import take_over
from flowmap.text_to_image.converting import converted
from flowmap.text_to_image.publishing import write_pipeline
from tests.text_to_image.facts import FACTS, GRID, PROMPTS
from tests.text_to_image.test_checkpoints import DATA
from tests.text_to_image.tiny_flux import tiny_flux

ONE_TIME = FACTS.model_copy(update={"two_times": False, "places": False})
TWO_TIMES = FACTS.model_copy(update={"places": False})
CPU = torch.device("cpu")


def write_stock(folder: Path, fastest: float) -> Path:
    """A pipeline with diffusers' own transformer, whose embedding of time looks at sines of 1000 t up to so
    many radians, as a trained one does: those beyond are noise to it."""
    tiny_flux(folder / "parts")
    torch.manual_seed(4)
    model = build(ONE_TIME, parts=folder / "parts")
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    layers: Any = model.network.transformer.time_text_embed.timestep_embedder  # type: ignore[union-attr]
    radians = 1000 * 10000 ** (-torch.arange(128) / 128)
    with torch.no_grad():
        layers.linear_1.weight *= (radians < fastest).repeat(2)
    write_pipeline(model, ONE_TIME, GRID, folder / "pipeline")
    index = folder / "pipeline" / "model_index.json"
    told = json.loads(index.read_text()) | {"transformer": ["diffusers", "FluxTransformer2DModel"]}
    index.write_text(json.dumps(told))
    return folder / "pipeline"


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock"), fastest=6.0)


def taken(stock: Path, folder: Path, *, convert: bool) -> FluxFacts:
    folder.mkdir()
    return take_over(Checkpoint(source=str(stock), convert=convert), DATA, folder / "scratch", folder)


def test_the_velocity_stays_what_it_was_and_t_less_r_is_nothing_at_first(
    stock: Path, tmp_path: Path
) -> None:
    taken(stock, tmp_path / "as_is", convert=False)
    facts = taken(stock, tmp_path / "converted", convert=True)
    assert facts.two_times
    assert read_model_facts(tmp_path / "converted") == facts
    old, new = load_model(tmp_path / "as_is", "map"), load_model(tmp_path / "converted", "velocity")
    assert not (tmp_path / "converted" / "map.safetensors").exists()
    assert isinstance(new.flow_map, TwoTimeMap)
    x, t = torch.randn(64, *FACTS.latent), torch.linspace(0, 1, 64)
    condition = old.condition([PROMPTS[index % 3] for index in range(64)])
    with torch.no_grad():
        before, after = (model.network(x, t, t, condition) for model in (old, new))
        assert torch.equal(after, new.network(x, t, t / 2, condition))
    off = float((after - before).square().mean().sqrt() / before.std())
    assert off < 0.05, off


def test_an_embedding_that_varies_too_fast_is_refused(tmp_path: Path) -> None:
    stock = write_stock(tmp_path, fastest=1000.0)
    with pytest.raises(ConfigError, match=r"convert: the embedding of time varies too fast"):
        taken(stock, tmp_path / "converted", convert=True)


def test_a_map_of_two_times_needs_no_converting(tmp_path: Path) -> None:
    write_pipeline(tiny_flux(tmp_path / "tiny"), FACTS, GRID, tmp_path / "given")
    with pytest.raises(ConfigError, match="knows two times already: leave it out"):
        taken(tmp_path / "given", tmp_path / "converted", convert=True)


def test_weights_are_taken_by_their_names(stock: Path, tmp_path: Path) -> None:
    taken(stock, tmp_path / "as_is", convert=False)
    weights = {
        name.removeprefix("transformer."): value
        for name, value in load_model(tmp_path / "as_is", "map").network.state_dict().items()
    }
    before = copy.deepcopy(weights)
    found = converted(weights, TWO_TIMES, CPU)
    assert all(torch.equal(before[name], value) for name, value in weights.items())
    kept = [name for name in weights if not name.startswith("time_text_embed")]
    assert all(torch.equal(found[name], weights[name]) for name in kept)
    assert not found["time_text_embed.outlet.weight"].any()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precision": "bfloat16"}, "which bfloat16 is too coarse for"),
        ({}, "come without data, and base_training.checkpoint.convert learns from data"),
    ],
)
def test_what_it_needs_is_told(changes: dict[str, str], told: str) -> None:
    checkpoint = {"source": "there", "convert": True, **changes}
    with pytest.raises(ValidationError, match=told):
        RunConfig.model_validate(
            {
                "name": "x",
                "data_prep": {"prompts": "p.txt", "resize": [16, 16]},
                "base_training": {"checkpoint": checkpoint},
            }
        )
