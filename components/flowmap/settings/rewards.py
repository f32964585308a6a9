"""What GRPO is rewarded with: a list of kinds, each with a weight and its own settings.

rewards:
  - {kind: preference, saturating: true}
  - {kind: mmd, weight: 3.0}
  - {kind: python, function: "sharpness:edges"}     # edges() in sharpness.py, beside the configuration
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flowmap.settings.section import (
    WITHOUT_EFFECT,
    Count,
    Fraction,
    Name,
    Positive,
    Pretrained,
    Revision,
    Section,
    written_as,
)

_FUNCTION = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


class RewardSettings(Section):
    """What every kind has.

    Attributes:
        weight: of the reward, normalised within its group, in the sum.
        name: in curves and reports; the kind where none is given. Two rewards never share one.
    """

    kind: str
    weight: Positive = 1.0
    name: Name | None = None

    @property
    def label(self) -> str:
        return self.name or self.kind


class PreferenceSettings(RewardSettings):
    """The preference model that reward_training makes.

    `saturating` stops paying at what held-out real data get: a learnt score is only right near its data.
    """

    kind: Literal["preference"] = "preference"
    saturating: bool = True


class MmdSettings(RewardSettings):
    """Each member's own part in its group's distance from real samples of the prompt."""

    kind: Literal["mmd"] = "mmd"


class ClassifierSettings(RewardSettings):
    """The log-probability that a classifier gives the prompt; reward_training trains it where
    `classifier_updates` is set. `saturating` counts it only up to what held-out real data get."""

    kind: Literal["classifier"] = "classifier"
    saturating: bool = True


class FunctionSettings(RewardSettings):
    """Those kinds that ask a function of one's own, `module:function`.

    `module` is a file beside the configuration, which then travels with the run, or a module that is
    installed where the step runs. Either one's source decides the step's digest.

    Attributes:
        source: that file's text, base64; filled in when the configuration is read.
    """

    function: Annotated[str, written_as(_FUNCTION, "write module:function, such as sharpness:edges")]
    source: str | None = None

    @property
    def module(self) -> str:
        return self.function.partition(":")[0]


class PythonSettings(FunctionSettings):
    """A function of one's own, called with `flowmap.Samples`; gives (groups, members)."""

    kind: Literal["python"] = "python"


class HttpSettings(RewardSettings):
    """A service that scores samples; `flowmap.rewards.http` says how it is asked.

    Attributes:
        url: asked with POST; what it answers decides the result, so a changed service needs a changed URL.
        batch: samples in one request.
        concurrency: requests at once.
        timeout_s: of one request.
        tries: of one request, with growing pauses between them.
    """

    kind: Literal["http"] = "http"
    url: Annotated[str, written_as(r"https?://\S+", "write a URL, http:// or https://")]
    batch: Annotated[Count, WITHOUT_EFFECT] = 64
    concurrency: Annotated[Count, WITHOUT_EFFECT] = 4
    timeout_s: Annotated[Positive, WITHOUT_EFFECT] = 60.0
    tries: Annotated[Count, WITHOUT_EFFECT] = 5


class VlmSettings(RewardSettings):
    """What a vision-language model says, at an endpoint that speaks as OpenAI's does.

    A key, where one is asked for, comes from the environment variable FLOWMAP_VLM_KEY.

    Attributes:
        url: of the API, such as http://host:8000/v1.
        model: as the endpoint calls it; what it answers decides the result, so a changed model needs another
            name.
        question: what is asked of a picture, `{prompt}` standing for its prompt; it is marked 0 to 10.
        concurrency: requests at once; timeout_s: of one; tries: of one, with growing pauses between them.
    """

    kind: Literal["vlm"] = "vlm"
    url: Annotated[str, written_as(r"https?://\S+", "write a URL, http:// or https://")]
    model: Annotated[str, Field(min_length=1)]
    question: Annotated[str, Field(min_length=1)] = (
        "How well does this picture show what was asked for: {prompt}? 10 is all as asked, 0 is nothing."
    )
    concurrency: Annotated[Count, WITHOUT_EFFECT] = 8
    timeout_s: Annotated[Positive, WITHOUT_EFFECT] = 120.0
    tries: Annotated[Count, WITHOUT_EFFECT] = 5


class OcrSettings(RewardSettings):
    """Whether a picture shows the text that its prompt puts in quotation marks, as a recogniser reads it."""

    kind: Literal["ocr"] = "ocr"


class ClipSettings(RewardSettings, Pretrained):
    """How well a picture fits its prompt in the eyes of a CLIP model of the library transformers."""

    kind: Literal["clip"] = "clip"


class PickScoreSettings(RewardSettings, Pretrained):
    """Which of two pictures people would pick for a prompt, as PickScore says, a CLIP model that was trained
    on their choices: its authors' own weights where no others are named."""

    kind: Literal["pickscore"] = "pickscore"
    source: Annotated[str, Field(min_length=1)] = "yuvalkirstain/PickScore_v1"
    revision: Revision | None = "a4e4367c6dfa7288a00c550414478f865b875800"

    @model_validator(mode="before")
    @classmethod
    def _commits_are_of_their_models(cls, given: Any) -> Any:
        if isinstance(given, dict) and "source" in given:
            return {"revision": None, **given}
        return given


class HpsSettings(RewardSettings, Pretrained):
    """How much people would prefer a picture for its prompt, as HPSv2 says, a CLIP model too: its weights as
    transformers has them."""

    kind: Literal["hps"] = "hps"


class AestheticSettings(RewardSettings, Pretrained):
    """How much people like a picture, as LAION's predictor says on the embedding of a CLIP model.

    Attributes:
        head: its layers, a file of safetensors (`layers.<n>.weight`, `.bias`), or such an object.
    """

    kind: Literal["aesthetic"] = "aesthetic"
    head: Annotated[str, written_as(r".+\.safetensors(\?.*)?", "write a file that ends with .safetensors")]


class ImageRewardSettings(RewardSettings, Pretrained):
    """How much people would prefer a picture for its prompt, as ImageReward says: BLIP as the library
    transformers has it, and beside it `head.safetensors`, the layers on what it reads."""

    kind: Literal["imagereward"] = "imagereward"


class RulesSettings(RewardSettings, Pretrained):
    """How much of what its prompt demands a picture shows, as an object detector of the library transformers
    finds it: GenEval's objects, numbers, colours and positions.

    Attributes:
        threshold: the confidence from which a thing is there; counting_threshold: the same where a number is
            demanded.
        strict: 1 or 0 for all of it; otherwise the share of the conditions that are met.
    """

    kind: Literal["rules"] = "rules"
    threshold: Fraction = 0.3
    counting_threshold: Fraction = 0.9
    strict: bool = False


class PythonRulesSettings(FunctionSettings):
    """The same conditions, with a function of one's own in the detector's place: `find(picture, classes)`
    gives the `flowmap.rewards.conditions.Thing`s of those classes in a picture (3, rows, columns) in [0, 1],
    with their colours where it knows them.

    Attributes:
        counting_threshold, strict: as for `rules`.
    """

    kind: Literal["python_rules"] = "python_rules"
    counting_threshold: Fraction = 0.9
    strict: bool = False


class EnergySettings(RewardSettings):
    """How good a group of forecasts is, by the energy score against what came: each member's own part."""

    kind: Literal["energy"] = "energy"


class HitSettings(RewardSettings):
    """1 for a forecast whose last value is within `tolerance` of what came, else 0.

    Attributes:
        tolerance: in units in which the futures that base training sees have a standard deviation of .5.
    """

    kind: Literal["hit"] = "hit"
    tolerance: Positive = 0.1


AnyReward = Annotated[
    PreferenceSettings
    | MmdSettings
    | ClassifierSettings
    | PythonSettings
    | HttpSettings
    | ClipSettings
    | PickScoreSettings
    | HpsSettings
    | OcrSettings
    | RulesSettings
    | PythonRulesSettings
    | AestheticSettings
    | ImageRewardSettings
    | EnergySettings
    | HitSettings
    | VlmSettings,
    Field(discriminator="kind"),
]
# Kinds that ask for data: trained on them, or measured against them.
OF_DATA = ("preference", "mmd", "classifier", "energy", "hit")
DEFAULT: tuple[AnyReward, ...] = (PreferenceSettings(), MmdSettings(weight=3.0))


class RewardList(Section):
    """For sections that have rewards, at least one."""

    rewards: Annotated[tuple[AnyReward, ...], Field(strict=False)] = DEFAULT

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        """What version 0.1 wrote."""
        old = {"reward", "mmd_weight"} & set(given) if isinstance(given, dict) else set()
        if old:
            raise ValueError(
                f"{' and '.join(sorted(old))} became a list: `rewards: "
                f"[{{kind: preference, saturating: true}}, "
                "{kind: mmd, weight: 3}]`"
            )
        return given

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if not self.rewards:
            raise ValueError("rewards is empty: there must be at least one")
        check_names(self.rewards)
        return self


def check_names(rewards: Sequence[RewardSettings]) -> None:
    """Raise ValueError where two rewards share a name."""
    labels = [reward.label for reward in rewards]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"two rewards are called {', '.join(twice)}: give each a `name`")
