"""A checkpoint's many steps are drawn at the times that its own scheduler has."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from flowmap.errors import ConfigError
from flowmap.maps import euler, even_grid, heun
from flowmap.models import FluxFacts, TextToImageFacts
from flowmap.models.storing import load_model
from flowmap.settings import Checkpoint
from flowmap.steps.suiting import checkpoint_will_do
from flowmap.text_to_image.checkpoints import take_over
from flowmap.text_to_image.network import pack
from flowmap.text_to_image.parts import shift_of
from tests.text_to_image.facts import BOTH, DATA, PROMPTS
from tests.text_to_image.test_checkpoints import edited
from tests.text_to_image.test_looking import config
from tests.text_to_image.tiny import write_stock

DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
SCHEDULER = "scheduler/scheduler_config.json"


def told(folder: Path, **says: Any) -> Path:
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / SCHEDULER).write_text(json.dumps(says))
    return folder


@pytest.mark.parametrize(
    ("says", "num_places", "shift"),
    [
        ({"shift": 3.0}, 1024, 3.0),
        ({"shift": 1.0}, 4096, 1.0),
        ({"shift": 3.0} | DYNAMIC, 4096, 3.1582),  # e^1.15: FLUX.1-dev at 1024 x 1024
        (DYNAMIC, 256, 1.6487),
        (DYNAMIC | {"time_shift_type": "linear"}, 4096, 1.15),
    ],
)
def test_what_a_scheduler_says(says: dict[str, Any], num_places: int, shift: float, tmp_path: Path) -> None:
    assert shift_of(told(tmp_path, **says), num_places) == pytest.approx(shift, abs=1e-4)


def test_without_a_scheduler_times_stay_and_one_that_says_nonsense_is_told(tmp_path: Path) -> None:
    assert shift_of(tmp_path, 16) == 1
    for says in ({"shift": "far"}, DYNAMIC | {"max_image_seq_len": 256}, DYNAMIC | {"max_shift": 1e9}):
        with pytest.raises(
            ConfigError, match=r"scheduler/scheduler_config.json says what no scheduler does"
        ):
            shift_of(told(tmp_path, **says), 16)


def test_times_that_are_not_moved_are_the_same_to_the_last_bit() -> None:
    assert even_grid(7) == tuple(1 - step / 7 for step in range(8))
    assert even_grid(4, 3.0) == pytest.approx((1, 0.9, 0.75, 0.5, 0))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("given", BOTH, ids=lambda each: each.kind)
def test_many_steps_are_those_of_the_pipeline_that_came(given: TextToImageFacts, tmp_path: Path) -> None:
    stock, is_flux = write_stock(tmp_path / "stock", given), isinstance(given, FluxFacts)
    edited(SCHEDULER, **(DYNAMIC if is_flux else {"shift": 3.0}))(stock)
    facts = take_over(Checkpoint(source=str(stock)), DATA, tmp_path, tmp_path)
    model, start = load_model(tmp_path, "map"), torch.randn(3, *given.latent)
    assert model.shift == facts.shift > 1
    with torch.no_grad():
        drawn = euler(model.flow_map, start, model.condition(PROMPTS), 6, model.shift)
        unmoved = euler(model.flow_map, start, model.condition(PROMPTS), 6)
        found = model.codec.decode(drawn).clamp(-1, 1)
    pipeline: Any = DiffusionPipeline.from_pretrained(stock)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt=list(PROMPTS),
        height=16,
        width=16,
        # That of SD3 ends at a time of its own before 0, unless it is told where to go.
        **({"num_inference_steps": 6} if is_flux else {"sigmas": list(even_grid(6)[:-1])}),
        latents=pack(start, 2) if is_flux else start,
        output_type="pt",
        max_sequence_length=facts.num_tokens,
        guidance_scale=0.0,
    ).images
    torch.testing.assert_close(expected * 2 - 1, found, rtol=0, atol=1e-5)
    assert float((unmoved - drawn).abs().max()) > 1e-3
    with torch.no_grad():
        second, still = (
            heun(model.flow_map, start, model.condition(PROMPTS), 6, s) for s in (facts.shift, 1)
        )
    assert float((second - still).abs().max()) > 1e-3


def test_few_steps_at_other_times_than_its_own_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = write_stock(tmp_path / "stock", BOTH[1])
    checkpoint_will_do(config(str(stock)), tmp_path / "one")
    assert "its own scheduler" not in capsys.readouterr().err
    edited(SCHEDULER, shift=3.0)(stock)
    checkpoint_will_do(config(str(stock)), tmp_path / "two")
    assert "its own scheduler draws 4 steps at [1, 0.9, 0.75, 0.5, 0]" in capsys.readouterr().err
    own = {"grid": [1, 0.9, 0.75, 0.5, 0]}
    checkpoint_will_do(config(str(stock), grpo_finetuning=own), tmp_path / "three")
    assert "its own scheduler" not in capsys.readouterr().err
