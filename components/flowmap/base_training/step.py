"""Base training: a MeanFlow map, and flow matching of the same network as the many-step baseline.

The two are trained side by side, each through the DeepSpeed engine in a process of its own: networks this
small gain nothing from a second core. A MeanFlow update takes a derivative along the path on top, so the
baseline gets twice the updates in about the same seconds. A FLUX model has an autoencoder and text
encoders before, and its map starts from the velocity; a checkpoint that is converted is that velocity,
and one that is trained from scratch has its own parts before. Then the map's health is measured on a grid
of times: an unhealthy map never leaves this step.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from flowmap.base_training.batches import some_of
from flowmap.base_training.sizes import model_facts, with_sizes
from flowmap.data.dataset import read_facts
from flowmap.data.encoded import encoded_facts
from flowmap.errors import InvariantError
from flowmap.maps.health import map_health, unhealthy
from flowmap.models.storing import load_model, write_model_facts
from flowmap.progress import say
from flowmap.seeding import generator_for
from flowmap.settings import BaseTraining
from flowmap.steps.context import Context
from flowmap.training.devices import device
from flowmap.training.work import Training

SETTINGS = "base.json"  # what it was trained with
_HEALTH_DATA = 256
_WORKER = "base_training.worker"
_CHECKPOINTS = "flowmap.text_to_image.checkpoints"  # by name, as all of that room


def run(context: Context[BaseTraining]) -> None:
    facts = read_facts(context.inputs["data"])
    checkpoint = context.section.checkpoint
    if checkpoint is not None:
        take_over = importlib.import_module(_CHECKPOINTS).take_over
        take_over(checkpoint, facts, context.scratch, context.out, encoded_facts(context.inputs["data"]))
        if not checkpoint.learns:
            return
    section = with_sizes(context.section, facts.modality, facts.shape, _num_data(context.inputs["data"]))
    say(
        f"base_training: width {section.width}, {section.updates} updates of {section.batch_size} "
        f"{facts.modality}"
    )
    if checkpoint is None:
        write_model_facts(context.out, model_facts(section, facts))
    (context.out / SETTINGS).write_text(json.dumps(section.decisive(), indent=1, sort_keys=True))
    for together in _order(section):
        context.train(
            [
                Training(
                    f"flowmap.{worker}",
                    section,
                    name=name,
                    num_processes=(section.processes or 1) if worker == _WORKER else 1,
                )
                for name, worker in together
            ]
        )
    _check_health(context, section)


def _order(section: BaseTraining) -> list[list[tuple[str, str]]]:
    """What is trained side by side, one after the other: names, and the module of each."""
    if section.checkpoint is not None:
        return (
            [[("velocity", _WORKER)], [("map", _WORKER)]]
            if section.checkpoint.train
            else [[("map", _WORKER)]]
        )
    if section.flux is None:
        return [[("map", _WORKER), ("velocity", _WORKER)]]
    parts = [("autoencoder", "text_to_image.autoencoder_worker"), ("text", "text_to_image.text_worker")]
    return [parts, [("velocity", _WORKER)], [("map", _WORKER)]]


def _num_data(data: Path) -> int:
    """That there are to train on."""
    encoded = encoded_facts(data)
    return read_facts(data).splits["base"] if encoded is None else encoded.num


def _check_health(context: Context[BaseTraining], section: BaseTraining) -> None:
    model = load_model(context.out, "map", device())
    most = _HEALTH_DATA if section.checkpoint is None else section.batch_size or 1  # as many as fit
    x, told = some_of(model, context.inputs["data"], most)
    pairs = map_health(model.flow_map, x, told, generator_for(section.seed, "health"))
    (context.out / "health.json").write_text(json.dumps([pair.to_dict() for pair in pairs], indent=1))
    if bad := unhealthy(pairs, section.max_speed_ratio, section.max_gap):
        raise InvariantError(
            f"the map is unhealthy at {len(bad)} of {len(pairs)} pairs (t, r): "
            f"{', '.join(map(str, bad[:5]))}. Train longer (base_training.updates is {section.updates}) or "
            f"with slower time embeddings (base_training.max_frequency is {section.max_frequency:g}); the "
            f"limits are a speed within a factor of {section.max_speed_ratio:g} and a gap of "
            f"{section.max_gap:g}"
        )
    worst = max(pairs, key=lambda pair: pair.gap)
    say(f"base_training: the map is healthy at all {len(pairs)} pairs of times; widest gap {worst}")
