"""Trains one of the two networks of base training: `python -m flowmap.base_training.worker JOB`.

Leaves `<objective>.safetensors`, the average of the weights (EMA), and `<objective>.json`, the curve of the error.
"""

from __future__ import annotations

import json
import math

import torch

from flowmap.base_training.losses import flow_matching_loss, mean_flow_loss
from flowmap.config import RunConfig
from flowmap.data.dataset import read_split
from flowmap.errors import InvariantError
from flowmap.networks import read_model_facts, save_weights
from flowmap.progress import Progress, say
from flowmap.training.ema import Ema
from flowmap.training.engine import device, load_engine, make_engine, save_engine
from flowmap.training.job import Job, run_worker

_BASELINE_UPDATES = 2
_CHECKPOINT_EVERY = 200
_CURVE_EVERY = 20


def train(job: Job) -> None:
    section = RunConfig.model_validate_json(job.settings).base_training
    objective, data = job.arguments["objective"], read_split(job.inputs["data"], "base")
    is_map = objective == "map"
    assert section.updates is not None  # the step has filled them in
    assert section.batch_size is not None
    num_updates = section.updates * (1 if is_map else _BASELINE_UPDATES)
    torch.manual_seed(section.seed)
    where = device()
    network = read_model_facts(job.out).build().to(where)
    optimizer = torch.optim.AdamW(network.parameters(), section.learning_rate, betas=(0.9, 0.99))
    engine = make_engine(network, optimizer, micro_batch=section.batch_size)
    average = Ema(network, section.ema)
    generator = torch.Generator().manual_seed(section.seed)
    curve: list[dict[str, float]] = []
    events = job.open_events()
    checkpoints, folder = job.open_checkpoints(), job.scratch / "checkpoint"
    done = checkpoints.restore(folder) or 0
    if done:
        state = load_engine(engine, folder)
        average.load(state["average"])
        generator.set_state(state["generator"])
        curve = state["curve"]
        say(f"base_training: {objective} goes on at update {done}")
    with Progress(f"base_training {objective}", num_updates, done) as progress:
        for update in range(done, num_updates):
            for group in optimizer.param_groups:
                group["lr"] = section.learning_rate * schedule(update, num_updates)
            chosen = torch.randint(len(data), (section.batch_size,), generator=generator)
            x, prompt = data.images[chosen].to(where), data.prompts[chosen].to(where)
            if is_map:
                loss, measured = mean_flow_loss(engine, network, x, prompt, section.equal_times, generator)
            else:
                loss, measured = flow_matching_loss(engine, x, prompt, generator)
            metrics = {name: float(value) for name, value in measured.items()}
            if not math.isfinite(metrics["error"]):
                raise InvariantError(
                    f"the error of the {objective} is {metrics['error']} at update {update}: lower "
                    f"base_training.learning_rate (it is {section.learning_rate:g})"
                )
            engine.backward(loss)
            engine.step()
            average.update(network)
            progress.update(**metrics)
            if update % _CURVE_EVERY == 0:
                curve.append({"update": update, **metrics})
                events.add(update, metrics)
            if (update + 1) % _CHECKPOINT_EVERY == 0 and update + 1 < num_updates:
                state = {"average": average.state(), "generator": generator.get_state(), "curve": curve}
                save_engine(engine, folder, state)
                checkpoints.save(update + 1, folder)
                events.upload()
    events.upload()
    save_weights(average.network, job.out / f"{objective}.safetensors")
    (job.out / f"{objective}.json").write_text(json.dumps({"num_updates": num_updates, "curve": curve}))


def schedule(update: int, num_updates: int) -> float:
    """Linear warm-up over a sixth of the updates (at most 100), then a half cosine to 1 %."""
    warm_up = min(1.0, (update + 1) / min(100, max(1, num_updates // 6)))
    return warm_up * 0.5 * (1 + math.cos(math.pi * update / num_updates)) + 0.01


if __name__ == "__main__":
    run_worker(train)
