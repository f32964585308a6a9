"""Trains a base's map on, in plain PyTorch: evaluation's image has nothing else.

Leaves `trained_on.safetensors`, the average of the weights (EMA).
"""

from __future__ import annotations

import torch

from flowmap.data.dataset import CAPTION, read_facts, read_split
from flowmap.maps.condition import rows
from flowmap.models.adapting import lay_adapters, recompute_activations
from flowmap.models.baseline import taught_by
from flowmap.models.storing import AS_BASE, load_weights, read_model_facts, save_weights
from flowmap.progress import Progress
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import BaseTraining
from flowmap.training.base_losses import map_loss
from flowmap.training.devices import device
from flowmap.training.ema import Ema
from flowmap.training.engine import TorchEngine
from flowmap.training.schedule import schedule
from flowmap.training.work import Work


def train(work: Work) -> None:
    """As the base was trained, from where that ended, its schedule begun anew."""
    section, base = BaseTraining.model_validate_json(work.section), work.inputs["base"]
    assert section.updates is not None  # whoever asks says how many
    assert section.batch_size is not None
    data, facts = read_split(work.inputs["data"], "base", CAPTION), read_facts(work.inputs["data"])
    model = read_model_facts(base).build(device(), base)
    load_weights(model.network, base / f"{AS_BASE}.safetensors")
    if section.lora is not None:
        torch.manual_seed(derived_seed(section.seed, work.name, "lora"))
        lay_adapters(model, section.lora.rank, section.lora.alpha, second_time=True)
    if section.gradient_checkpointing:
        recompute_activations(model)
    network, conditions = model.network.train(), model.condition(facts.prompts)
    optimizer = torch.optim.AdamW(model.parameters(), section.learning_rate, betas=(0.9, 0.99))
    engine = TorchEngine(device())
    engine.prepare(network, optimizer, batch=section.batch_size)
    taught = taught_by(base, device())
    average, generator = Ema(network, section.ema), generator_for(section.seed, work.name, "batches")
    with Progress("evaluation: the base trained on", section.updates) as progress:
        for update in range(section.updates):
            for group in optimizer.param_groups:
                group["lr"] = section.learning_rate * schedule(update, section.updates)
            chosen = torch.randint(len(data), (section.batch_size,), generator=generator)
            x = model.codec.encode(data.data[chosen].to(model.device))
            condition = rows(conditions, data.prompts[chosen].to(model.device))
            loss, measured = map_loss(section, network, x, condition, generator, taught=taught)
            engine.backward(loss)
            engine.step()
            average.update(network)
            progress.update(error=float(measured["error"]))
    with average.applied(network):
        save_weights(model.weights_of(network), work.out / f"{work.name}.safetensors")
