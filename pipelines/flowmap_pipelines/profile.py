"""Where and how a pipeline runs: what each step's pod gets. A profile changes no result, so it enters no
step digest.

profile = load_profile("cluster-gpu")          # one that comes with flowmap, or a YAML file of one's own
profile.step("grpo_finetuning").gpu.count      # a step's own settings over the profile's `defaults`
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, model_validator

from flowmap.errors import ConfigError
from flowmap.kubernetes.quantities import QUANTITY, amount
from flowmap.settings import Section, written_as
from flowmap.settings.messages import Place, explain
from flowmap.settings.yaml_text import YamlTextError, read_yaml
from flowmap.steps.dag import PIPELINE

STEPS = tuple(dict.fromkeys(step.name for step in PIPELINE))
_DISTRIBUTED = "grpo_finetuning"
_WORD = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"


def _as_written(value: object) -> object:
    """`cpu: 2` is a quantity too, although YAML makes a number of it."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Quantity = Annotated[
    str, BeforeValidator(_as_written), written_as(QUANTITY, "a quantity is such as 500m, 2 or 4Gi")
]
Label = Annotated[
    str, written_as(_WORD, "a label's value has letters, digits, `.`, `_`, `-`, at most 63 of them")
]
LabelKey = Annotated[
    str, written_as(rf"([a-z0-9.-]+/)?{_WORD}", "a label's key is such as example.com/pool")
]
ResourceName = Annotated[
    str, written_as(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", "a name in Kubernetes' lower case")
]
Duration = Annotated[str, written_as(r"[1-9][0-9]*[smh]", "a duration such as '30s', '10m' or '1h'")]


class Resources(Section):
    """What the scheduler reserves, or the most a container may use."""

    cpu: Quantity
    memory: Quantity


def _check_limits(requests: Resources, limits: Resources) -> None:
    for name in ("cpu", "memory"):
        requested, limit = getattr(requests, name), getattr(limits, name)
        if amount(requested) > amount(limit):
            raise ValueError(f"requests.{name} ({requested}) is more than limits.{name} ({limit})")


class Gpu(Section):
    """Whole accelerators, as the device plugin of a node calls them; `memory`, of each, is for `flowmap
    plan` alone."""

    type: LabelKey = "nvidia.com/gpu"
    count: PositiveInt = 1
    memory: Quantity | None = None


class Toleration(Section):
    """Lets a pod onto nodes with that taint."""

    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] = "Exists"
    value: Label | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if (self.value is not None) != (self.operator == "Equal"):
            raise ValueError("a toleration has a `value` exactly when its operator is Equal")
        return self


class Retries(Section):
    """How often a pod that was lost is started again.

    A step that fails by itself is not: see docs/cluster.md. Only a training job whose memory did not
    suffice is started again, with `memory_factor` times as much each time.
    """

    attempts: Annotated[int, Field(ge=0, le=10)] = 2
    backoff: Duration = "30s"
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    longest: Duration = "3600s"
    memory_factor: Annotated[float, Field(ge=1, le=8)] = 1.0


class TrainJob(Section):
    """A step that trains on nodes of its own, through Kubeflow Trainer; the step's pod only follows them.

    Attributes:
        nodes: how many; they share the step's `processes` evenly.
        runtime: the TrainingRuntime of the namespace, which the chart makes.
        requests, limits, gpu: a node's.
        deadline_s: of training, from when every node runs; time in a queue does not count.
        queue: the Kueue LocalQueue that the nodes wait in together.
    """

    nodes: PositiveInt
    runtime: ResourceName = "flowmap-training"
    requests: Resources
    limits: Resources
    gpu: Gpu | None = None
    deadline_s: PositiveInt
    queue: Label | None = None

    @model_validator(mode="after")
    def _limits_cover(self) -> Self:
        _check_limits(self.requests, self.limits)
        return self


class StepProfile(Section):
    """What a step's pod gets.

    Attributes:
        image: which of the lock's images it runs.
        timeout_s: from the pod's start, the image's pull included.
        shared_memory: size of /dev/shm, in memory, which counts as the pod's; torch's processes talk through
            it.
        scratch: size of the directory for what need not survive.
        run_as_user: the number of the user that its pod runs as; None leaves it to the cluster, as
            OpenShift wants it.
        store_secret: a Secret of the namespace with `access-key` and `secret-key` for the store; None where
            the pod's service account is an identity that the store knows.
        labels: of the pod.
        queue: the Kueue LocalQueue it waits in.
        price_per_hour: of all it gets, in any currency, for `flowmap plan`.
        trainjob: for grpo_finetuning: training on nodes of its own instead of in this pod.
    """

    image: Literal["cpu", "train"]
    requests: Resources
    limits: Resources
    gpu: Gpu | None = None
    node_selector: dict[LabelKey, Label] = Field(default_factory=dict)
    tolerations: Annotated[tuple[Toleration, ...], Field(strict=False)] = ()
    retries: Retries = Retries()
    timeout_s: PositiveInt
    shared_memory: Quantity = "64Mi"
    scratch: Quantity = "4Gi"
    run_as_user: PositiveInt | None = 65532
    store_secret: ResourceName | None = "flowmap-store"
    labels: dict[LabelKey, Label] = Field(default_factory=dict)
    queue: Label | None = None
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    trainjob: TrainJob | None = None

    @model_validator(mode="after")
    def _limits_cover(self) -> Self:
        _check_limits(self.requests, self.limits)
        if amount(self.shared_memory) >= amount(self.limits.memory):
            raise ValueError(
                f"shared_memory ({self.shared_memory}) counts as memory and fills limits.memory"
            )
        return self


class Profile(Section):
    """A whole profile; `steps` holds what differs from `defaults`, by the step's name.

    Attributes:
        pinned: images are named by digest alone.
        store_config_map: a ConfigMap of the namespace; its key `url` is the store's URL, and `region`,
            `http-proxy`, `https-proxy` and `no-proxy` may stand there too.
        ca_config_map: a ConfigMap of the namespace whose key `ca.crt` has the certificates of your own
            authority, by which the store's is checked.
        patience_s: how long a store, the Kubernetes API server and Kubeflow are waited for when they are
            away; ten minutes unless told.
    """

    description: str
    pinned: bool = True
    store_config_map: ResourceName = "flowmap-store"
    ca_config_map: ResourceName | None = None
    patience_s: Annotated[float, Field(ge=0)] | None = None
    image_pull_policy: Literal["IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[tuple[ResourceName, ...], Field(strict=False)] = ()
    steps: dict[str, StepProfile]

    @model_validator(mode="after")
    def _trains_by_job(self) -> Self:
        for name, step in self.steps.items():
            if step.trainjob is not None and name != _DISTRIBUTED:
                raise ValueError(f"steps.{name}.trainjob: only {_DISTRIBUTED} can train on nodes of its own")
        return self

    def step(self, name: str) -> StepProfile:
        return self.steps[name]


def shipped_profiles() -> dict[str, Path]:
    """The profiles that come with flowmap, by name."""
    return {path.stem: path for path in sorted(Path(__file__).with_name("profiles").glob("*.yaml"))}


def load_profile(which: str) -> Profile:
    """Read a profile by its name or file. Raises ConfigError with one line for each mistake."""
    shipped = shipped_profiles()
    path = shipped.get(which, Path(which))
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"--profile {which}: no such file, and the known profiles are {', '.join(shipped)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--profile {which}: can't be read: {error}") from None
    except YamlTextError as error:
        raise ConfigError(f"--profile {which}: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"--profile {which}: expected `description`, `defaults` and `steps`, got {raw!r}")
    defaults, own = raw.pop("defaults", None) or {}, raw.get("steps") or {}
    if not isinstance(defaults, dict) or not isinstance(own, dict):
        raise ConfigError(f"--profile {which}: `defaults` and `steps` hold settings by name")
    if unknown := sorted(set(own) - set(STEPS)):
        raise ConfigError(
            f"--profile {which}: steps.{unknown[0]}: no such step; there is {', '.join(STEPS)}"
        )
    raw["steps"] = {name: _over(defaults, own.get(name)) for name in STEPS}

    def written_at(place: Place) -> Place:
        """A step's setting that is not its own is that of the defaults."""
        if place[0] != "steps" or len(place) < 3:
            return place
        here: Any = own.get(place[1])
        for part in place[2:]:
            if isinstance(here, list):
                return place
            if not isinstance(here, dict) or part not in here:
                return "defaults", *place[2:]
            here = here[part]
        return place

    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        told = explain(error, Profile, "profile", written_at)
        raise ConfigError(f"--profile {which} is not a valid profile:{told}") from None


def _over(defaults: Any, own: Any) -> Any:
    """`own` over `defaults`, key by key at any depth."""
    if isinstance(defaults, dict) and isinstance(own, dict):
        return {
            key: _over(defaults.get(key), own[key]) if key in own else defaults[key]
            for key in {**defaults, **own}
        }
    return defaults if own is None else own
