"""Trains one of the two networks of base training, the map or the velocity, as the work's name says.

Leaves `<name>.safetensors`, the average of the weights (EMA), and `<name>.json`, the curve of the error.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor
from torch import distributed as dist

from flowmap.base_training.batches import batches_of
from flowmap.base_training.sizes import baseline_updates
from flowmap.data.dataset import read_contexts
from flowmap.errors import InvariantError
from flowmap.models.adapting import lay_adapters, recompute_activations
from flowmap.models.baseline import taught_by
from flowmap.models.storing import load_weights, read_model_facts, save_weights
from flowmap.progress import Progress, say
from flowmap.prompts.vectors import fill_contexts
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import BaseTraining
from flowmap.training.base_losses import map_loss, velocity_loss
from flowmap.training.deepspeed_engine import DeepSpeedEngine
from flowmap.training.devices import device
from flowmap.training.ema import Ema
from flowmap.training.engine import Engine
from flowmap.training.memory import full_memory_told, less_for_base
from flowmap.training.schedule import schedule
from flowmap.training.work import Work

_CHECKPOINT_EVERY = 200
_CURVE_EVERY = 20


def train(work: Work) -> None:
    section = BaseTraining.model_validate_json(work.section)
    with full_memory_told("base_training", less_for_base(section)):
        _train(work)


def _train(work: Work) -> None:
    section, objective = BaseTraining.model_validate_json(work.section), work.name
    is_map = objective == "map"
    assert section.updates is not None  # the step has filled them in
    assert section.batch_size is not None
    num_updates = section.updates if is_map else baseline_updates(section)
    torch.manual_seed(derived_seed(section.seed, objective, "weights"))
    model = read_model_facts(work.out).build(device(), work.out)
    if is_map and (section.flux is not None or section.checkpoint is not None):
        load_weights(model.network, work.out / "velocity.safetensors")
    if section.lora is not None:
        torch.manual_seed(derived_seed(section.seed, objective, "lora"))
        lay_adapters(model, section.lora.rank, section.lora.alpha, second_time=True)
    if section.gradient_checkpointing:
        recompute_activations(model)
    network = model.network
    fill_contexts(network, read_contexts(work.inputs["data"]))
    batches = batches_of(model, work.inputs["data"])
    taught = taught_by(work.out, model.device) if is_map else None
    optimizer = torch.optim.AdamW(model.parameters(), section.learning_rate, betas=(0.9, 0.99))
    engine = DeepSpeedEngine()
    num_here = section.batch_size // engine.num_processes
    engine.prepare(network, optimizer, batch=num_here)
    average, drawn = Ema(network, section.ema), _Draws(section, objective, engine)
    curve: list[dict[str, float]] = []
    folder = work.scratch / "checkpoint"
    done = _restore(work, folder, engine)
    if done:
        state = engine.load(folder)
        average.load(state["average"])
        drawn.generator.set_state(state["generator"])
        curve = state["curve"]
        say(f"base_training: {objective} goes on at update {done}")
    is_first = engine.rank == 0
    with Progress(f"base_training {objective}", num_updates, done) as progress:
        for update in range(done, num_updates):
            for group in optimizer.param_groups:
                group["lr"] = section.learning_rate * schedule(update, num_updates)
            generator = drawn.of(update)
            x, condition = batches.draw(num_here, generator)
            if is_map:
                loss, measured = map_loss(section, network, x, condition, generator, engine.module, taught)
            else:
                loss, measured = velocity_loss(section, engine.module, x, condition, generator)
            metrics = {name: _mean(engine, value) for name, value in measured.items()}
            if not math.isfinite(metrics["error"]):
                raise InvariantError(
                    f"the error of the {objective} is {metrics['error']} at update {update}: lower "
                    f"base_training.learning_rate (it is {section.learning_rate:g})"
                )
            engine.backward(loss)
            engine.step()
            average.update(network)
            if is_first:
                progress.update(**metrics)
            if is_first and update % _CURVE_EVERY == 0:
                curve.append({"update": update, **metrics})
                work.events.add(update, metrics)
            if (update + 1) % _CHECKPOINT_EVERY == 0 and update + 1 < num_updates:
                state = {
                    "average": average.state(),
                    "generator": drawn.generator.get_state(),
                    "curve": curve,
                }
                engine.save(folder, state)
                if is_first:
                    work.checkpoints.save(update + 1, folder)
                    work.events.upload()
                dist.barrier()
    if not is_first:
        return
    work.events.upload()
    with average.applied(network):
        save_weights(model.weights_of(network), work.out / f"{objective}.safetensors")
    (work.out / f"{objective}.json").write_text(json.dumps({"num_updates": num_updates, "curve": curve}))


class _Draws:
    """Where each process takes its batches and noise from.

    One process goes through one stream, whose state its checkpoints keep. Of several each has a stream of
    its own for every update, as only the first one's state is kept.
    """

    def __init__(self, section: BaseTraining, objective: str, engine: Engine) -> None:
        self.section, self.objective, self.engine = section, objective, engine
        self.generator = generator_for(section.seed, objective, "batches")

    def of(self, update: int) -> torch.Generator:
        if self.engine.num_processes == 1:
            return self.generator
        return generator_for(self.section.seed, self.objective, "batches", update, self.engine.rank)


def _mean(engine: Engine, value: Tensor) -> float:
    """Over all processes."""
    here = torch.as_tensor(value, dtype=torch.double, device=engine.device)
    return float(engine.sum(here)) / engine.num_processes


def _restore(work: Work, folder: Path, engine: Engine) -> int:
    """Updates that a checkpoint has done, which then lies in the folder; 0 without one."""
    done = work.checkpoints.restore(folder) if engine.rank == 0 else None
    return int(engine.sum(torch.tensor(done or 0, device=engine.device)))
