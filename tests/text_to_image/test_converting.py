"""A flow-matching checkpoint as the beginning of a map of two times."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from flowmap.errors import ConfigError
from flowmap.maps import TwoTimeMap
from flowmap.models import TextToImageFacts
from flowmap.models.baseline import load_baseline, taught_by
from flowmap.models.storing import load_model, read_model_facts
from flowmap.settings import Checkpoint, RunConfig
from flowmap.text_to_image.checkpoints import take_over
from flowmap.text_to_image.converting import converted
from flowmap.text_to_image.publishing import write_pipeline
from tests.text_to_image.facts import BOTH, DATA, FACTS, GRID, PROMPTS
from tests.text_to_image.tiny import tiny, write_stock

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=BOTH, ids=lambda each: each.kind)
def stock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock"), request.param, fastest=6.0)


def taken(stock: Path, folder: Path, *, convert: bool, guidance: float | None = None) -> TextToImageFacts:
    folder.mkdir()
    checkpoint = Checkpoint(source=str(stock), convert=convert, guidance=guidance)
    return take_over(checkpoint, DATA, folder / "scratch", folder)


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


def test_the_many_steps_of_a_guided_model_are_guided_and_teach_it(stock: Path, tmp_path: Path) -> None:
    taken(stock, tmp_path / "plain", convert=True)
    taken(stock, tmp_path / "guided", convert=True, guidance=3.0)
    assert taught_by(tmp_path / "plain") is None
    plain, guided = load_baseline(tmp_path / "plain"), load_baseline(tmp_path / "guided")
    assert isinstance(plain.flow_map, TwoTimeMap)
    x, t = torch.randn(3, *FACTS.latent), torch.tensor([0.9, 0.5, 0.2])
    condition, nothing = plain.condition(PROMPTS), plain.condition([""] * 3)
    taught = taught_by(tmp_path / "guided")
    assert taught is not None
    with torch.no_grad():
        told, untold = (plain.flow_map.velocity(x, t, each) for each in (condition, nothing))
        assert float((told - untold).abs().max()) > 0.01
        found = guided.flow_map.velocity(x, t, condition)
        torch.testing.assert_close(found, untold + 3 * (told - untold), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(taught(told, x, t, condition), found, atol=1e-5, rtol=1e-4)


def test_what_was_distilled_with_guidance_teaches_what_it_says_itself(tmp_path: Path) -> None:
    """Data's own velocity has no guidance: from it the map would unlearn what the model was made for."""
    facts = FACTS.model_copy(update={"guided": True})
    stock = write_stock(tmp_path / "stock", facts, fastest=6.0)
    found = taken(stock, tmp_path / "base", convert=True)
    assert (found.told_guidance, found.guidance) == (3.5, None)
    taught = taught_by(tmp_path / "base")
    assert taught is not None
    model = load_baseline(tmp_path / "base")
    x, t, condition = torch.randn(3, *FACTS.latent), torch.tensor([0.9, 0.5, 0.2]), model.condition(PROMPTS)
    with torch.no_grad():
        own = model.flow_map.velocity(x, t, condition)
        assert torch.equal(taught(torch.full_like(x, 7.0), x, t, condition), own)
    with pytest.raises(ConfigError, match=r"guidance: .* was distilled with guidance and is told 3.5"):
        taken(stock, tmp_path / "twice", convert=True, guidance=4.0)


def test_what_is_trained_from_scratch_is_told_no_guidance(tmp_path: Path) -> None:
    stock = write_stock(tmp_path / "stock", FACTS.model_copy(update={"guided": True}))
    checkpoint = Checkpoint(source=str(stock), train=True)
    assert take_over(checkpoint, DATA, tmp_path / "scratch", tmp_path).told_guidance == 0


def test_an_embedding_that_varies_too_fast_is_refused(tmp_path: Path) -> None:
    stock = write_stock(tmp_path, FACTS, fastest=1000.0)
    with pytest.raises(ConfigError, match=r"convert: the embedding of time varies too fast"):
        taken(stock, tmp_path / "converted", convert=True)


def test_a_map_of_two_times_needs_no_converting(tmp_path: Path) -> None:
    write_pipeline(tiny(tmp_path / "tiny"), FACTS, GRID, tmp_path / "given")
    with pytest.raises(ConfigError, match="knows two times already: leave it out"):
        taken(tmp_path / "given", tmp_path / "converted", convert=True)


def test_weights_are_taken_by_their_names(stock: Path, tmp_path: Path) -> None:
    facts = taken(stock, tmp_path / "as_is", convert=False)
    weights = {
        name.removeprefix("transformer."): value
        for name, value in load_model(tmp_path / "as_is", "map").network.state_dict().items()
    }
    before = copy.deepcopy(weights)
    found = converted(weights, facts.model_copy(update={"two_times": True}), CPU)
    assert all(torch.equal(before[name], value) for name, value in weights.items())
    kept = [name for name in weights if not name.startswith("time_text_embed")]
    assert all(torch.equal(found[name], weights[name]) for name in kept)
    assert not found["time_text_embed.outlet.weight"].any()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precision": "bfloat16"}, "which bfloat16 is too coarse for"),
        ({"convert": False, "lora": {}}, "lora is for a checkpoint that is converted"),
        (
            {"convert": False, "precision": "bfloat16"},
            "grpo_finetuning tunes all weights, which bfloat16 is too",
        ),
        ({"convert": False, "guidance": 3.0}, "guidance is built into a map by convert"),
        ({}, "come without data, and base_training.checkpoint.convert learns from data"),
        ({"train": True}, "convert starts from its weights, and train from none"),
        ({"convert": False, "train": True}, "base_training.checkpoint.train learns from data"),
        (
            {"convert": False, "train": True, "precision": "bfloat16"},
            "checkpoint.train trains all weights, which bfloat16 is too coarse for: take float32",
        ),
        ({"convert": False, "train": True, "lora": {}}, "lora is for a checkpoint that is converted"),
    ],
)
def test_what_it_needs_is_told(changes: dict[str, Any], told: str) -> None:
    checkpoint = {"source": "there", "convert": True, **changes}
    section = {"lora": checkpoint.pop("lora")} if "lora" in changes else {}
    with pytest.raises(ValidationError, match=told):
        RunConfig.model_validate(
            {
                "name": "x",
                "data_prep": {"prompts": "p.txt", "resize": [16, 16]},
                "base_training": {"checkpoint": checkpoint, **section},
            }
        )
