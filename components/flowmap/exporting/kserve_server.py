"""Draws from the model in this folder, for whoever speaks the open inference protocol (v2).

    python server.py                                   # http://localhost:8080/v2/models/NAME/infer

Inputs, the first axis of each being the samples: `prompt`, BYTES, one of the prompts in config.json, or in
its place `context`, FP32, where the model forecasts; `seed`, INT64, the same of which gives the same sample,
or none for chance. Output: `samples`, FP32; the answer's parameters say which model drew them.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput

_HERE = Path(__file__).parent
_MOST = 256  # samples of one request
_INPUTS = ("prompt", "context", "seed")


# KServe lies in the server's environment alone, and the checker does not know its class.
class Sampler(Model):  # type: ignore[misc]
    """The model of a folder."""

    def __init__(self, folder: Path) -> None:
        self._config = json.loads((folder / "config.json").read_text())
        super().__init__(self._config["served_as"])
        self._folder = folder
        self._rows = {prompt: row for row, prompt in enumerate(self._config["prompts"])}

    def load(self) -> bool:
        """Read the graph and the conditions of all prompts."""
        self._session = onnxruntime.InferenceSession(self._folder / "sampler.onnx")
        self._conditions = dict(np.load(self._folder / "conditions.npz"))
        self.ready = True
        return True

    def predict(
        self, payload: InferRequest, headers: Any = None, response_headers: Any = None
    ) -> InferResponse:
        """Samples of what was asked for. Raises InvalidInput, status 400, with what was wrong."""
        given = {each.name: each for each in payload.inputs}
        if unknown := sorted(set(given) - set(_INPUTS)):
            raise InvalidInput(f"unknown input {', '.join(unknown)}; there is {', '.join(_INPUTS)}")
        condition = self._condition(given)
        num = len(next(iter(condition.values())))
        if not 1 <= num <= _MOST:
            raise InvalidInput(f"{num} samples: ask for 1 to {_MOST} at once")
        noise = np.stack([self._noise(seed) for seed in _seeds(given, num)])
        (samples,) = self._session.run(None, {"noise": noise, **condition})
        told = InferOutput("samples", list(samples.shape), "FP32")
        told.set_data_from_numpy(samples, binary_data=False)
        whose = {"model": self._config["model"], "digest": self._config["digest"]}
        return InferResponse(payload.id, self.name, [told], parameters=whose)

    def _condition(self, given: dict[str, Any]) -> dict[str, Any]:
        if "context" in given and "context" in self._conditions:
            context = np.asarray(given["context"].as_numpy(), dtype=np.float32)
            expected = self._conditions["context"].shape[1:]
            if context.shape[1:] != expected:
                raise InvalidInput(f"context has shape {context.shape}; it is (samples, {expected})")
            return {"context": context}
        if "prompt" not in given:
            others = " or context" if "context" in self._conditions else ""
            raise InvalidInput(f"say for which prompt{others}")
        told = np.asarray(given["prompt"].data).ravel()
        prompts = [each.decode() if isinstance(each, bytes) else str(each) for each in told]
        if unknown := sorted(set(prompts) - set(self._rows)):
            known = ", ".join(list(self._rows)[:20])
            raise InvalidInput(f"unknown prompt {', '.join(unknown[:3])}; it knows {known}")
        rows = [self._rows[prompt] for prompt in prompts]
        return {name: table[rows] for name, table in self._conditions.items()}

    def _noise(self, seed: int) -> Any:
        shape = self._config["inputs"]["noise"]["shape"][1:]
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _seeds(given: dict[str, Any], num: int) -> list[int]:
    if "seed" not in given:
        return [secrets.randbits(63) for _ in range(num)]
    seeds = [int(seed) for seed in given["seed"].as_numpy().ravel()]
    if len(seeds) != num:
        raise InvalidInput(f"{len(seeds)} seeds for {num} samples: one for each, or none")
    if min(seeds) < 0:
        raise InvalidInput("a seed is 0 or more")
    return seeds


if __name__ == "__main__":
    sampler = Sampler(_HERE)
    sampler.load()
    ModelServer().start([sampler])
