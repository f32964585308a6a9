"""A sampler as one ONNX graph, which onnxruntime runs without torch.

    inputs = write_sampler(model, facts, grid, policy, Path("sampler.onnx"))

Weights and inputs are float32, which the model becomes as well. What is written is read back and run beside
the model, at another batch size than it was made with.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from flowmap.asfmc import Policy
from flowmap.errors import ConfigError, IntegrityError
from flowmap.maps import compose
from flowmap.models import ModelFacts
from flowmap.models.model import Model

TOLERANCE = 1e-3  # of the output's spread: what float32 in another order may come to
_MOST_BYTES = 2**31 - 2**20  # of one ONNX file
_TRACED, _TRIED = 2, 5  # batch sizes

Inputs = dict[str, Tensor]  # by name, each (batch, ...)


class _Graph(nn.Module):
    """A computation with the weights that it uses."""

    def __init__(self, model: Model, names: Sequence[str], compute: Callable[[Inputs], Tensor]) -> None:
        super().__init__()
        self.network, self.vae = model.network, getattr(model.codec, "vae", None)
        self.names, self.compute = tuple(names), compute

    def forward(self, *given: Tensor) -> Tensor:
        return self.compute(dict(zip(self.names, given, strict=True)))


def write_sampler(
    model: Model, facts: ModelFacts, grid: Sequence[float], policy: Policy | None, path: Path
) -> Inputs:
    """The whole sampler: `noise` and the condition's leaves in, `sample` out, (batch, *data).

    Args:
        grid: times from 1 to 0.
        policy: where the model ships stochastic transitions, how they are drawn; `noise` is then (batch,
            1 + transitions, *state), the start's first, and (batch, *state) otherwise.

    Returns an example of the inputs. Raises as `_write` does.
    """
    drawn = () if policy is None else (1 + len(policy.window),)

    def compute(given: Inputs) -> Tensor:
        noise, flow_map = given["noise"], model.flow_map
        condition = {name: leaf for name, leaf in given.items() if name != "noise"}
        if policy is None:
            return model.codec.decode(compose(flow_map, noise, condition, grid))
        return model.codec.decode(policy.draw(flow_map, noise, condition, grid))

    def inputs(batch: int) -> Inputs:
        noise = torch.randn(batch, *drawn, *model.codec.state_shape)
        return {"noise": noise, **condition_of(model, facts, batch)}

    return _write(model, compute, inputs, "sample", path)


def write_evaluation(model: Model, facts: ModelFacts, path: Path) -> Inputs:
    """One map evaluation, from t to r: `state`, `t`, `r` and the condition's leaves in, `next` out.

    t and r have shape (batch,). Returns an example of the inputs. Raises as `_write` does.
    """

    def compute(given: Inputs) -> Tensor:
        condition = {name: leaf for name, leaf in given.items() if name not in ("state", "t", "r")}
        return model.flow_map.transport(given["state"], given["t"], given["r"], condition)

    def inputs(batch: int) -> Inputs:
        t = torch.linspace(1.0, 0.2, batch)
        state = torch.randn(batch, *model.codec.state_shape)
        return {"state": state, "t": t, "r": t / 3, **condition_of(model, facts, batch)}

    return _write(model, compute, inputs, "next", path)


def write_decoder(model: Model, path: Path) -> Inputs:
    """From `state` to `sample`. Returns an example of the inputs. Raises as `_write` does."""

    def inputs(batch: int) -> Inputs:
        return {"state": torch.randn(batch, *model.codec.state_shape)}

    return _write(model, lambda given: model.codec.decode(given["state"]), inputs, "sample", path)


def condition_of(model: Model, facts: ModelFacts, batch: int) -> Inputs:
    """The condition of so many prompts, each after the other, as the network takes it.

    Where prompts are occasions it is what was known at them, so that others can be told.
    """
    names = [facts.prompts[index % len(facts.prompts)] for index in range(batch)]
    found = model.condition(names)
    vectors = getattr(model.network, "prompt", None)
    contexts = getattr(vectors, "contexts", None)
    if contexts is not None:
        return {"context": contexts[found["prompt"]]}
    return {name: leaf.float() if leaf.is_floating_point() else leaf for name, leaf in found.items()}


def _write(
    model: Model,
    compute: Callable[[Inputs], Tensor],
    inputs: Callable[[int], Inputs],
    output: str,
    path: Path,
) -> Inputs:
    """Write a computation, read it back and hold it against the model; returns an example of its inputs.

    Args:
        inputs: examples of so many samples.

    Raises:
        ConfigError: it is larger than one file can be.
        IntegrityError: what was written does not do what the model does.
    """
    size = 4 * sum(each.numel() for each in model.network.parameters())
    if size > _MOST_BYTES:
        raise ConfigError(
            f"its weights are {size / 2**30:.1f} GiB, and an ONNX file holds at most 2: export it for "
            "diffusers"
        )
    model.network.float()
    given = inputs(_TRACED)
    graph = _Graph(model, tuple(given), compute).eval()
    batch = {0: torch.export.Dim("batch")}
    with torch.no_grad(), _quiet():
        torch.onnx.export(
            graph,
            tuple(given.values()),
            path,
            input_names=list(given),
            output_names=[output],
            dynamic_shapes={"given": (batch,) * len(given)},
            external_data=False,
            dynamo=True,
        )
    tried = inputs(_TRIED)
    with torch.no_grad():
        expected = graph(*tried.values())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: value.numpy() for name, value in tried.items()})
    off = float((torch.from_numpy(found) - expected).abs().max() / expected.std().clamp_min(1e-6))
    if not off < TOLERANCE:
        raise IntegrityError(
            f"{path.name} does not do what the model does: it is off by {off:.2g} of the spread of what "
            f"comes out, and {TOLERANCE:g} is allowed"
        )
    return given


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself."""
    there = logging.getLogger("torch.onnx")
    level = there.level
    there.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        there.setLevel(level)
