"""GRPO on a FLUX transformer: its memory against what `flowmap plan` says, and how much of an update is bare
passes of the network.

    make bench-gpu                                        # two billion parameters, adapters, bfloat16
    python -m benchmarks.gpu --double-blocks 1 --single-blocks 1 --heads 4 --side 64     # on a processor

Weights are untrained, which costs the same. Bare are the passes that an update can't do without: policy
forward and back, reference forward, of the same samples in the same parts. Both in turn; the figure is the
ratio of the medians. Without a GPU there is no memory to measure.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowmap.grpo.trainer import Grpo
from flowmap.maps.condition import rows
from flowmap.models import FluxFacts
from flowmap.models.adapting import lay_adapters, recompute_activations
from flowmap.models.model import Model
from flowmap.rewards.protocol import Samples
from flowmap.settings import RunConfig
from flowmap.text_to_image.building import build
from flowmap.text_to_image.latents import FOLDER, fresh_autoencoder
from flowmap.text_to_image.text import fresh_text
from flowmap.training.deepspeed_engine import DeepSpeedEngine
from flowmap.training.devices import device
from flowmap_pipelines.gpu_memory import grpo_parts

_PROMPTS = ("a red cat", "a blue dog")
_AIM_SHARE, _AIM_MEMORY = 0.85, 0.10


def facts_of(given: argparse.Namespace) -> FluxFacts:
    side = given.side // 8
    return FluxFacts(
        shape=(3, given.side, given.side),
        prompts=_PROMPTS,
        latent=(16, side, side),
        heads=given.heads,
        head_width=128,
        double_blocks=given.double_blocks,
        single_blocks=given.single_blocks,
        text_width=64,
        pooled_width=64,
        num_tokens=given.tokens,
        two_times=False,
        places=False,
        axes=(16, 56, 56),
        precision=given.precision,
    )


def config_of(given: argparse.Namespace) -> RunConfig:
    """The same run as a configuration: what a plan is made of."""
    redness = {"kind": "python", "function": "benchmarks.gpu:redness"}
    settings = {
        "name": "bench-gpu",
        "data_prep": {"prompts": "none.txt", "resize": [given.side, given.side]},
        "base_training": {"checkpoint": {"source": "none", "precision": given.precision}},
        "grpo_finetuning": {
            "grid": [1.0, 0.75, 0.5, 0.25, 0.0],
            "window": [0],
            "composed": False,
            "groups": 2,
            "updates_per_rollout": 1,
            "group_size": given.samples // 2,
            "micro_batch": given.micro_batch,
            "gradient_checkpointing": given.gradient_checkpointing,
            "lora": {"rank": 32, "alpha": 64.0},
            "learning_rate": 1e-4,
            "rewards": [redness],
        },
        "evaluation": {"rewards": [{**redness, "name": "judge"}]},
    }
    return RunConfig.model_validate(settings)


def redness(samples: Samples) -> Tensor:
    return samples.data[:, :, 0].mean((-1, -2))


def made(facts: FluxFacts, config: RunConfig, folder: Path) -> tuple[Model, Grpo]:
    """An untrained model and GRPO on it, through DeepSpeed."""
    torch.manual_seed(0)
    fresh_autoencoder(3, facts.latent[0], (32, 32, 32, 32)).save_pretrained(folder / FOLDER)
    fresh_text(_PROMPTS, facts.num_tokens, facts.text_width).save(folder)
    section, model = config.grpo_finetuning, build(facts, device(), folder)
    assert section.lora is not None
    lay_adapters(model, section.lora.rank, section.lora.alpha)
    if section.gradient_checkpointing:
        recompute_activations(model)
    return model, Grpo(model, [redness], _PROMPTS, section, DeepSpeedEngine(section.zero_stage))


def drawn_and_scored(grpo: Grpo, index: int) -> None:
    """What a rollout does before its updates."""
    groups = grpo.draw_prompts(index)
    grpo.draw(index, grpo.members(groups), groups)


def bare(model: Model, grpo: Grpo) -> None:
    """The passes of one update and nothing else; no weight changes."""
    section = grpo.settings
    num, size = section.groups * section.group_size, section.micro_batch or 1
    condition = model.condition([_PROMPTS[index % 2] for index in range(num)])
    x, t = torch.randn(num, *model.codec.state_shape, device=model.device), torch.ones(num)
    for first in range(0, num, size):
        part = slice(first, first + size)
        at = (x[part], t[part].to(model.device), t[part].to(model.device), rows(condition, part))
        with torch.no_grad(), model.reference() as reference:
            reference.endpoint(at[0], at[1], at[3])
        torch.as_tensor(model.network(*at)).square().mean().backward()
    model.network.zero_grad()


def seconds(work: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--double-blocks", type=int, default=4)
    parser.add_argument("--single-blocks", type=int, default=6)
    parser.add_argument("--heads", type=int, default=24, help="of width 128")
    parser.add_argument("--side", type=int, default=512, help="of a picture, in pixels")
    parser.add_argument("--tokens", type=int, default=128, help="of a prompt")
    parser.add_argument("--samples", type=int, default=16, help="of a rollout, in two groups")
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    facts, config = facts_of(given), config_of(given)
    with tempfile.TemporaryDirectory() as folder:
        model, grpo = made(facts, config, Path(folder))
        print(f"{facts.size().parameters / 1e6:,.0f} M parameters, {given.precision}, on {model.device}")
        taken: dict[str, list[float]] = {"update": [], "bare": []}
        for index in range(given.rounds + 1):
            before, whole = (
                seconds(partial(work, grpo, index)) for work in (drawn_and_scored, Grpo.rollout)
            )
            passes = seconds(partial(bare, model, grpo))
            if index:  # the first one warms up
                taken["update"].append(whole - before)
                taken["bare"].append(passes)
    update, passes = (statistics.median(each) for each in taken.values())
    print(f"update {update:.2f} s, bare passes {passes:.2f} s: {passes / update:.2f} (aim: {_AIM_SHARE})")
    if torch.cuda.is_available():
        planned = sum(grpo_parts(config, facts).values()) / 2**30
        peak = torch.cuda.max_memory_allocated() / 2**30
        told = f"planned {planned:.1f} GiB, {planned / peak - 1:+.0%} (aim: within {_AIM_MEMORY:.0%})"
        print(f"memory: at most {peak:.1f} GiB, {told}")


if __name__ == "__main__":
    main()
