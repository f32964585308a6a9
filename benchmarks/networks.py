"""Which network is better in the same seconds: the MLP, or the transformer over patches.

    make bench-networks EXAMPLE=digits SECONDS=90     # a minute and a half a network, three seeds
    make bench-networks EXAMPLE=mnist SECONDS=300

Data and judge are those of a run of that example. Each network is trained as base training trains the map,
on one core, until its seconds of processor time are over, its learning rate falling with the share of them
that is spent; the networks of a seed one after the other. All are measured with the same noise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks.gate import Bench, bench_of
from flowmap.base_training.sizes import model_facts, with_sizes
from flowmap.data.dataset import CAPTION, read_split
from flowmap.maps.condition import rows
from flowmap.models.model import Model
from flowmap.progress import say
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import BaseTraining, load_config
from flowmap.training.base_losses import map_loss
from flowmap.training.ema import Ema
from flowmap.training.schedule import schedule

NETWORKS: Mapping[str, Mapping[str, int]] = {
    "MLP, width 256": {},
    "transformer, patches of 2, width 64": {"patch": 2, "width": 64},
    "transformer, patches of 2, width 128": {"patch": 2, "width": 128},
}
_FIGURES = {"judge_accuracy": 3, "kid_judge": 4, "fd_judge": 1, "recall": 2, "diversity": 3}
_PARTS = 1000  # of a training's seconds, for the schedule


def trained(section: BaseTraining, bench: Bench, seed: int, seconds: float) -> tuple[Model, int]:
    """A map trained for so long, with the average of its weights, and its updates.

    Args:
        section: what base training would be told, sizes filled in.
    """
    data = read_split(bench.folders["data"], "base", CAPTION)
    torch.manual_seed(derived_seed(seed, "weights"))
    model = model_facts(section, bench.facts).build(torch.device("cpu"), Path())
    network, conditions = model.network, model.condition(bench.facts.prompts)
    optimizer = torch.optim.AdamW(network.parameters(), section.learning_rate, betas=(0.9, 0.99))
    average, generator = Ema(network, section.ema), generator_for(seed, "batches")
    assert section.batch_size is not None
    started, updates = time.process_time(), 0
    while (spent := time.process_time() - started) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = section.learning_rate * schedule(int(_PARTS * spent / seconds), _PARTS)
        chosen = torch.randint(len(data), (section.batch_size,), generator=generator)
        x = model.codec.encode(data.data[chosen])
        loss, _ = map_loss(section, network, x, rows(conditions, data.prompts[chosen]), generator, network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(network)
        updates += 1
    model.network = average.network_of(network).eval().requires_grad_(False)
    return model, updates


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, nargs="?", default=Path("examples/digits.yaml"))
    parser.add_argument("--root", type=Path, default=Path(".flowmap"), help="where runs are kept")
    parser.add_argument("--seconds", type=float, default=120, help="of training, each network")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 1 on")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bench, whole = bench_of(asked.config, asked.root), load_config(asked.config).base_training
    data = read_split(bench.folders["data"], "base", CAPTION)
    found: dict[tuple[str, int], list[Mapping[str, float]]] = {}
    updates: dict[str, list[int]] = {}
    for seed in range(1, asked.seeds + 1):
        drawing = bench.drawing(f"networks {seed}")
        for name, settings in NETWORKS.items():
            section = BaseTraining.model_validate({**whole.model_dump(exclude_unset=True), **settings})
            section = with_sizes(section, bench.facts.modality, bench.facts.shape, len(data))
            model, num = trained(section, bench, seed, asked.seconds)
            updates.setdefault(name, []).append(num)
            for grid in ((1.0, 0.0), bench.grid):
                figures = bench.measurer.measure(drawing.composed(model, grid)).figures
                found.setdefault((name, len(grid) - 1), []).append(figures)
                say(f"seed {seed}, {name}, {len(grid) - 1}: {figures}")

    print(f"\n{asked.seconds:g} s of one core each, {asked.seeds} seeds, mean (range):\n")
    print("| network | updates | evaluations | " + " | ".join(_FIGURES) + " |")
    print("| --- | ---: | ---: |" + " ---: |" * len(_FIGURES))
    for (name, evaluations), measured in found.items():
        cells = []
        for figure, digits in _FIGURES.items():
            values = [row[figure] for row in measured]
            low, high = min(values), max(values)
            cells.append(f"{statistics.mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        print(f"| {name} | {min(updates[name])} | {evaluations} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
