"""Base training: a MeanFlow map, and flow matching of the same network as the many-step baseline.

Both go through the DeepSpeed engine in this process. A MeanFlow update takes a derivative along the path on top, so the
baseline gets twice the updates in about the same seconds. What is kept of each is the average of its weights (EMA), the
curve of its error, and the map's health on a grid of times: an unhealthy map never leaves this step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowmap.base_training.health import map_health, unhealthy
from flowmap.base_training.losses import flow_matching_loss, mean_flow_loss
from flowmap.config import BaseTraining
from flowmap.data.dataset import Split, read_facts, read_split
from flowmap.errors import InvariantError
from flowmap.maps import TwoTimeMap
from flowmap.maps.flow_map import Network
from flowmap.networks import ModelFacts, load_network, save_weights, write_model_facts
from flowmap.progress import Progress, say
from flowmap.step import Context
from flowmap.training.ema import Ema
from flowmap.training.engine import load_engine, make_engine, save_engine

Loss = Callable[[Network, Network, Tensor, Tensor, torch.Generator], tuple[Tensor, dict[str, float]]]
_BASELINE_UPDATES = 2
_CHECKPOINT_EVERY = 200
_CURVE_EVERY = 20
_HEALTH_IMAGES = 256


def run(context: Context) -> None:
    section = context.config.base_training
    data, facts = read_split(context.inputs["data"], "base"), read_facts(context.inputs["data"])
    model = ModelFacts(
        shape=facts.shape,
        prompts=facts.prompts,
        width=section.width,
        depth=section.depth,
        max_frequency=section.max_frequency,
    )
    write_model_facts(context.out, model)

    def mean_flow(engine: Network, network: Network, x: Tensor, prompt: Tensor, g: torch.Generator) -> Any:
        return mean_flow_loss(engine, network, x, prompt, section.equal_times, g)

    def flow_matching(engine: Network, network: Network, x: Tensor, prompt: Tensor, g: torch.Generator) -> Any:
        return flow_matching_loss(engine, x, prompt, g)

    resumed = context.scratch / "resumed"
    done = context.checkpoints.restore(resumed) or 0
    if done >= section.updates and done > 0:
        (resumed / "map.safetensors").rename(context.out / "map.safetensors")
        (resumed / "map.json").rename(context.out / "map.json")
    else:
        _train(context, model, data, mean_flow, "map", section.updates, before=0, done=done)
    _check_health(context, section, data)
    baseline_done = max(0, done - section.updates)
    num_updates = _BASELINE_UPDATES * section.updates
    _train(context, model, data, flow_matching, "velocity", num_updates, before=section.updates, done=baseline_done)


def _train(
    context: Context,
    model: ModelFacts,
    data: Split,
    loss_of: Loss,
    name: str,
    num_updates: int,
    *,
    before: int,
    done: int,
) -> None:
    """Train for `num_updates`, of which `done` are in the checkpoint, and leave `<name>.safetensors` and `.json`.

    Args:
        before: updates of the trainings that come before this one; a checkpoint is numbered by all of them.
    """
    section = context.config.base_training
    torch.manual_seed(section.seed)
    network = model.build()
    optimizer = torch.optim.AdamW(network.parameters(), section.learning_rate, betas=(0.9, 0.99))
    engine = make_engine(network, optimizer, micro_batch=section.batch_size)
    average = Ema(network, section.ema)
    generator = torch.Generator().manual_seed(section.seed)
    curve: list[dict[str, float]] = []
    if done:
        state = load_engine(engine, context.scratch / "resumed")
        average.load(state["average"])
        generator.set_state(state["generator"])
        curve = state["curve"]
        say(f"base_training: {name} goes on at update {done}")
    with Progress(f"base_training {name}", num_updates, done) as progress:
        for update in range(done, num_updates):
            for group in optimizer.param_groups:
                group["lr"] = section.learning_rate * _schedule(update, num_updates)
            chosen = torch.randint(len(data), (section.batch_size,), generator=generator)
            loss, metrics = loss_of(engine, network, data.images[chosen], data.prompts[chosen], generator)
            if not math.isfinite(metrics["error"]):
                raise InvariantError(
                    f"the {name}'s error is {metrics['error']} at update {update}: lower "
                    f"base_training.learning_rate (it is {section.learning_rate:g})"
                )
            engine.backward(loss)
            engine.step()
            average.update(network)
            progress.update(**metrics)
            if update % _CURVE_EVERY == 0:
                curve.append({"update": update, **metrics})
            if (update + 1) % _CHECKPOINT_EVERY == 0 and update + 1 < num_updates:
                state = {"average": average.state(), "generator": generator.get_state(), "curve": curve}
                _checkpoint(context, engine, before + update + 1, state)
    save_weights(average.network, context.out / f"{name}.safetensors")
    (context.out / f"{name}.json").write_text(json.dumps({"num_updates": num_updates, "curve": curve}))


def _checkpoint(context: Context, engine: Any, done: int, state: dict[str, Any]) -> None:
    folder = context.scratch / "checkpoint"
    save_engine(engine, folder, state)
    for path in context.out.glob("map.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    context.checkpoints.save(done, folder)


def _schedule(update: int, num_updates: int) -> float:
    """Linear warm-up over a sixth of the updates (at most 100), then a half cosine to 1 %."""
    warm_up = min(1.0, (update + 1) / min(100, max(1, num_updates // 6)))
    return warm_up * 0.5 * (1 + math.cos(math.pi * update / num_updates)) + 0.01


def _check_health(context: Context, section: BaseTraining, data: Split) -> None:
    flow_map = TwoTimeMap(load_network(context.out, "map"))
    images, prompts = data.images[:_HEALTH_IMAGES], data.prompts[:_HEALTH_IMAGES]
    rows = map_health(flow_map, images, prompts, torch.Generator().manual_seed(section.seed))
    (context.out / "health.json").write_text(json.dumps([row.to_dict() for row in rows], indent=1))
    if bad := unhealthy(rows, section.max_speed_ratio, section.max_gap):
        raise InvariantError(
            f"the map is unhealthy at {len(bad)} of {len(rows)} pairs (t, r): {', '.join(map(str, bad[:5]))}. Train "
            f"longer (base_training.updates is {section.updates}) or with slower time embeddings "
            f"(base_training.max_frequency is {section.max_frequency:g}); the limits are a speed within a factor of "
            f"{section.max_speed_ratio:g} and a gap of {section.max_gap:g}"
        )
    worst = max(rows, key=lambda row: row.gap)
    say(f"base_training: the map is healthy at all {len(rows)} pairs of times; widest gap {worst}")
