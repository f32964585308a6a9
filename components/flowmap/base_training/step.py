"""Base training: a MeanFlow map, and flow matching of the same network as the many-step baseline.

The two are trained side by side, each through the DeepSpeed engine in a process of its own: networks this small gain
nothing from a second core. A MeanFlow update takes a derivative along the path on top, so the baseline gets twice the
updates in about the same seconds. Then the map's health is measured on a grid of times: an unhealthy map never leaves
this step.
"""

from __future__ import annotations

import json

import torch

from flowmap.base_training.health import map_health, unhealthy
from flowmap.base_training.sizes import with_sizes
from flowmap.config import BaseTraining
from flowmap.data.dataset import Split, read_facts, read_split
from flowmap.errors import InvariantError
from flowmap.maps import TwoTimeMap
from flowmap.networks import ModelFacts, load_network, write_model_facts
from flowmap.progress import say
from flowmap.step import Context
from flowmap.training.job import Job
from flowmap.training.launcher import launch

_HEALTH_IMAGES = 256


def run(context: Context) -> None:
    facts, data = read_facts(context.inputs["data"]), read_split(context.inputs["data"], "base")
    section = with_sizes(context.config.base_training, facts.shape, len(data))
    say(f"base_training: width {section.width}, {section.updates} updates of {section.batch_size} images")
    assert section.width is not None
    model = ModelFacts(
        shape=facts.shape,
        prompts=facts.prompts,
        width=section.width,
        depth=section.depth,
        max_frequency=section.max_frequency,
    )
    write_model_facts(context.out, model)
    settings = context.config.model_copy(update={"base_training": section}).to_json()
    launch([_job(context, settings, objective) for objective in ("map", "velocity")])
    _check_health(context, section, data)


def _job(context: Context, settings: str, objective: str) -> Job:
    return Job(
        module="flowmap.base_training.worker",
        settings=settings,
        inputs=dict(context.inputs),
        out=context.out,
        scratch=context.scratch / objective,
        store=context.store.url,
        checkpoints=f"{context.checkpoints.prefix}/{objective}",
        arguments={"objective": objective},
    )


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
