"""Few-step generators, trained with reinforcement learning.

    import flowmap
    model = flowmap.Model(network, prompts=["left", "right"], shape=(2,))
    loss, _ = flowmap.mean_flow_loss(model.network, x, model.condition(prompts), generator=generator)
    grpo = flowmap.Grpo(model, [reward], ["left", "right"], flowmap.GrpoSettings())
    figures = grpo.rollout(0)
    x = model.sample(prompts, noise, grid=(1.0, 0.5, 0.0))

A name is imported when it is first used: `import flowmap` alone loads neither torch nor anything else that
is large. The pipeline's own parts, such as its steps and launchers, are not here but in the rooms they live
in.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowmap.artifacts.store import ObjectStore as ObjectStore
    from flowmap.artifacts.store import open_store as open_store
    from flowmap.asfmc import EndpointAnchor as EndpointAnchor
    from flowmap.asfmc import ExactLocalAnchor as ExactLocalAnchor
    from flowmap.asfmc import GaussianStep as GaussianStep
    from flowmap.asfmc import Kernel as Kernel
    from flowmap.asfmc import LocalAnchor as LocalAnchor
    from flowmap.asfmc import Rollout as Rollout
    from flowmap.asfmc import Transition as Transition
    from flowmap.asfmc import roll_out as roll_out
    from flowmap.grpo.trainer import Grpo as Grpo
    from flowmap.maps import Condition as Condition
    from flowmap.maps import FlowMap as FlowMap
    from flowmap.maps import OneTimeMap as OneTimeMap
    from flowmap.maps import RectifiedFlow as RectifiedFlow
    from flowmap.maps import TwoTimeMap as TwoTimeMap
    from flowmap.maps import compose as compose
    from flowmap.maps import euler as euler
    from flowmap.maps import even_grid as even_grid
    from flowmap.maps import flow_matching_loss as flow_matching_loss
    from flowmap.maps import mean_flow_loss as mean_flow_loss
    from flowmap.models.model import Codec as Codec
    from flowmap.models.model import Conditioner as Conditioner
    from flowmap.models.model import Model as Model
    from flowmap.models.storing import load_model as load_model
    from flowmap.registry import Registry as Registry
    from flowmap.rewards import Reward as Reward
    from flowmap.rewards import Samples as Samples
    from flowmap.rewards import Weighted as Weighted
    from flowmap.rewards.classifier import ClassifierReward as ClassifierReward
    from flowmap.rewards.http import HttpReward as HttpReward
    from flowmap.rewards.mmd import MmdReward as MmdReward
    from flowmap.rewards.preference import PreferenceReward as PreferenceReward
    from flowmap.rewards.protocol import FunctionReward as FunctionReward
    from flowmap.rewards.protocol import Prompt as Prompt
    from flowmap.settings import GrpoSettings as GrpoSettings
    from flowmap.settings import RunConfig as RunConfig
    from flowmap.settings import load_config as load_config
    from flowmap.training.deepspeed_engine import DeepSpeedEngine as DeepSpeedEngine
    from flowmap.training.ema import Ema as Ema
    from flowmap.training.engine import Engine as Engine
    from flowmap.training.engine import TorchEngine as TorchEngine

__version__ = "0.3.0"

_PLACES = {
    "artifacts.store": ("ObjectStore", "open_store"),
    "asfmc": (
        "EndpointAnchor",
        "ExactLocalAnchor",
        "GaussianStep",
        "Kernel",
        "LocalAnchor",
        "Rollout",
        "Transition",
        "roll_out",
    ),
    "grpo.trainer": ("Grpo",),
    "maps": (
        "Condition",
        "FlowMap",
        "OneTimeMap",
        "RectifiedFlow",
        "TwoTimeMap",
        "compose",
        "euler",
        "even_grid",
        "flow_matching_loss",
        "mean_flow_loss",
    ),
    "models.model": ("Codec", "Conditioner", "Model"),
    "models.storing": ("load_model",),
    "registry": ("Registry",),
    "rewards": ("Reward", "Samples", "Weighted"),
    "rewards.classifier": ("ClassifierReward",),
    "rewards.http": ("HttpReward",),
    "rewards.mmd": ("MmdReward",),
    "rewards.preference": ("PreferenceReward",),
    "rewards.protocol": ("FunctionReward", "Prompt"),
    "settings": ("GrpoSettings", "RunConfig", "load_config"),
    "training.deepspeed_engine": ("DeepSpeedEngine",),
    "training.ema": ("Ema",),
    "training.engine": ("Engine", "TorchEngine"),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}
__all__ = sorted(_PLACE_OF)


def __getattr__(name: str) -> Any:
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'flowmap' has no attribute {name!r}")
    return getattr(importlib.import_module(f"flowmap.{_PLACE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACE_OF})
