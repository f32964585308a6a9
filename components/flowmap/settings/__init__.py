"""Settings: what a run is decided by, the messages for mistakes in it, and the names of environment
variables.

    config = load_config(Path("digits.yaml"), ["grpo_finetuning.rollouts=20"])

A module here holds values and checks, never what computes a result: none of them enters a step's code
version.
"""

from flowmap.settings.data import BUILT_IN, SPLITS, DataPrep, KeptPrompts, SeriesSettings
from flowmap.settings.grpo import GrpoFinetuning, GrpoSettings
from flowmap.settings.rewards import (
    AestheticSettings,
    AnyReward,
    ClassifierSettings,
    ClipSettings,
    EnergySettings,
    FunctionSettings,
    HitSettings,
    HpsSettings,
    HttpSettings,
    ImageRewardSettings,
    MmdSettings,
    OcrSettings,
    PickScoreSettings,
    PreferenceSettings,
    PythonRulesSettings,
    PythonSettings,
    RewardSettings,
    RulesSettings,
    VlmSettings,
)
from flowmap.settings.run_config import RunConfig, load_config
from flowmap.settings.section import Checkpoint, Lora, Pretrained, Section, written_as
from flowmap.settings.sections import (
    ANCHOR,
    REJECTED,
    BaseTraining,
    Evaluation,
    FluxSettings,
    RegistryPush,
    RewardTraining,
)

__all__ = [
    "ANCHOR",
    "BUILT_IN",
    "REJECTED",
    "SPLITS",
    "AestheticSettings",
    "AnyReward",
    "BaseTraining",
    "Checkpoint",
    "ClassifierSettings",
    "ClipSettings",
    "DataPrep",
    "EnergySettings",
    "Evaluation",
    "FluxSettings",
    "FunctionSettings",
    "GrpoFinetuning",
    "GrpoSettings",
    "HitSettings",
    "HpsSettings",
    "HttpSettings",
    "ImageRewardSettings",
    "KeptPrompts",
    "Lora",
    "MmdSettings",
    "OcrSettings",
    "PickScoreSettings",
    "PreferenceSettings",
    "Pretrained",
    "PythonRulesSettings",
    "PythonSettings",
    "RegistryPush",
    "RewardSettings",
    "RewardTraining",
    "RulesSettings",
    "RunConfig",
    "Section",
    "SeriesSettings",
    "VlmSettings",
    "load_config",
    "written_as",
]
