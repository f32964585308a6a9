"""What a sample costs: the few-step map at 1, 2 and 4 evaluations beside 50 steps of the baseline, in torch
and as ONNX graphs.

    make bench-sampling                                  # of the model that `make run` published
    python -m benchmarks.sampling tiny-flux --root .flowmap

The baseline is a network of the same size, so its steps are those of this one. Rounds go through all
samplers in turn, on one thread; a cell is the median over the rounds. The condition is made once and not
counted, what decodes latents is.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode

from flowmap.exporting.graph import condition_of, write_decoder, write_evaluation, write_sampler
from flowmap.maps import compose, euler, grid_for
from flowmap.models import ModelFacts
from flowmap.models.model import Model
from flowmap.models.storing import load_model, read_model_facts, shipped_weights
from flowmap_pipelines.local_run import store_of
from flowmap_pipelines.model_list import find_version
from flowmap_pipelines.sampling import copy_model

_FEW, _MANY = (1, 2, 4), 50
_BATCHES = (1, 64)
_ROUND_S = 0.3  # that a sampler takes of each round, at least
Draw = Callable[[], object]


def samplers(model: Model, facts: ModelFacts, batch: int, scratch: Path) -> dict[tuple[str, int], Draw]:
    """A function that draws a batch once, by runtime and number of evaluations."""
    condition = condition_of(model, facts, batch)
    own = model.condition([facts.prompts[index % len(facts.prompts)] for index in range(batch)])
    noise = torch.randn(batch, *model.codec.state_shape)
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in condition.items()}
    found: dict[tuple[str, int], Draw] = {}

    def drawn(count: int) -> Draw:
        grid = grid_for(count, facts.grid)
        return lambda: model.codec.decode(compose(model.flow_map, noise, own, grid))

    for count in _FEW:
        found["torch", count] = torch.no_grad()(drawn(count))
        session = _session(scratch / f"sampler-{count}.onnx")
        given = {"noise": noise.numpy(), **arrays}
        found["ONNX", count] = functools.partial(session.run, None, given)
    found["torch", _MANY] = torch.no_grad()(
        lambda: model.codec.decode(euler(model.flow_map, noise, own, _MANY))
    )
    found["ONNX", _MANY] = _steps(noise.numpy(), arrays, scratch)
    return found


def _steps(noise: Any, condition: dict[str, Any], scratch: Path) -> Draw:
    """The graph of one evaluation, again and again."""
    step, decode = _session(scratch / "map.onnx"), scratch / "decode.onnx"
    decoder = _session(decode) if decode.exists() else None
    times = [np.full(len(noise), time, np.float32) for time in grid_for(_MANY, None)]

    def draw() -> object:
        state = noise
        for t, r in itertools.pairwise(times):
            (state,) = step.run(None, {"state": state, "t": t, "r": r, **condition})
        return state if decoder is None else decoder.run(None, {"state": state})

    return draw


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def write_graphs(model: Model, facts: ModelFacts, folder: Path) -> None:
    """A whole sampler for each few, one evaluation, and the decoder where there is one."""
    for count in _FEW:
        write_sampler(model, facts, grid_for(count, facts.grid), None, folder / f"sampler-{count}.onnx")
    write_evaluation(model, facts, folder / "map.onnx")
    if getattr(model.codec, "vae", None) is not None:
        write_decoder(model, folder / "decode.onnx")


def milliseconds(
    draws: dict[tuple[str, int], Draw], batch: int, rounds: int
) -> dict[tuple[str, int], float]:
    """Of one sample, the median over rounds in which every sampler has its turn."""
    each: dict[tuple[str, int], list[float]] = {key: [] for key in draws}
    for draw in draws.values():
        draw()
    for _ in range(rounds):
        for key, draw in draws.items():
            began, number = time.perf_counter(), 0
            while time.perf_counter() - began < _ROUND_S:
                draw()
                number += 1
            each[key].append(1000 * (time.perf_counter() - began) / number / batch)
    return {key: statistics.median(values) for key, values in each.items()}


def flops(draw: Draw) -> float:
    """Floating-point operations of matrix products, attention and convolutions in one call, in millions."""
    with FlopCounterMode(display=False) as counter:
        draw()
    return float(counter.get_total_flops()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="NAME[@VERSION]")
    parser.add_argument("--root", type=Path, default=Path(".flowmap"))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = store_of(options.root, None)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        version = find_version(store, options.model)
        copy_model(store, version, scratch)
        facts, model = read_model_facts(scratch), load_model(scratch, shipped_weights(scratch))
        write_graphs(model, facts, scratch)
        found: dict[int, dict[tuple[str, int], float]] = {}
        cost: dict[int, float] = {}
        for batch in _BATCHES:
            draws = samplers(model, facts, batch, scratch)
            found[batch] = milliseconds(draws, batch, options.rounds)
            cost = cost or {count: flops(draws["torch", count]) for count in (*_FEW, _MANY)}
    print(
        f"{version.name}@{version.version}, {facts.size().parameters:,} parameters, milliseconds a sample\n"
    )
    columns = [f"{runtime}, batch of {batch}" for batch in _BATCHES for runtime in ("torch", "ONNX")]
    print("| evaluations | millions of operations | " + " | ".join(columns) + " |")
    print("| ---: |" + " ---: |" * (1 + len(columns)))
    for count in (*_FEW, _MANY):
        cells = []
        for batch in _BATCHES:
            for runtime in ("torch", "ONNX"):
                one, many = found[batch][runtime, count], found[batch][runtime, _MANY]
                faster = "" if count == _MANY else f" (x{many / one:.0f})"
                cells.append(f"{one:.3g}{faster}")
        who = f"{count}, the baseline" if count == _MANY else str(count)
        print(f"| {who} | {cost[count]:,.1f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
