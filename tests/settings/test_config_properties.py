"""Configurations of any kind: read back as they were written, in any order, and no key is passed over."""

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from pydantic import ValidationError

from flowmap.settings import RunConfig
from flowmap.settings.yaml_text import read_yaml

COUNTS = some.integers(1, 2000)
RATES = some.floats(1e-6, 0.1)
GRIDS = some.lists(some.floats(0.01, 0.99), min_size=1, max_size=6, unique=True).map(
    lambda times: [1.0, *sorted(times, reverse=True), 0.0]
)
REWARDS = some.lists(
    some.sampled_from(["classifier", "preference", "mmd"]), min_size=1, unique=True
).flatmap(
    lambda kinds: some.tuples(
        *(
            some.fixed_dictionaries({"kind": some.just(kind), "weight": some.floats(0.1, 9)})
            for kind in kinds
        )
    ).map(list)
)
CONFIGS = some.fixed_dictionaries(
    {"name": some.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)},
    optional={
        "data_prep": some.fixed_dictionaries(
            {}, optional={"max_unreadable": some.integers(0, 9), "caption_noise": some.floats(0, 0.9)}
        ),
        "base_training": some.fixed_dictionaries(
            {}, optional={"width": COUNTS, "updates": COUNTS, "learning_rate": RATES, "seed": COUNTS}
        ),
        "grpo_finetuning": some.fixed_dictionaries(
            {}, optional={"grid": GRIDS, "rewards": REWARDS, "rollouts": COUNTS, "learning_rate": RATES}
        ),
        "evaluation": some.fixed_dictionaries(
            {}, optional={"kid_tolerance": some.floats(0, 1), "judge_updates": COUNTS}
        ),
    },
)
WAYS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def built(told: dict[str, Any]) -> RunConfig | None:
    """None where settings that are right by themselves do not go together."""
    try:
        return RunConfig.model_validate(told)
    except ValidationError:
        return None


def turned(told: Any) -> Any:
    """The same with every mapping's keys in another order."""
    return {key: turned(told[key]) for key in reversed(told)} if isinstance(told, dict) else told


@WAYS
@given(CONFIGS)
def test_what_is_written_is_read_back_in_every_form(told: dict[str, Any]) -> None:
    if (config := built(told)) is None:
        return
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert RunConfig.model_validate(read_yaml(yaml.safe_dump(told))) == config
    assert RunConfig.model_validate(read_yaml(yaml.safe_dump(config.model_dump(mode="json")))) == config


@WAYS
@given(CONFIGS)
def test_order_decides_nothing(told: dict[str, Any]) -> None:
    if (config := built(told)) is None:
        return
    other = RunConfig.model_validate(turned(told))
    for section in ("data_prep", "base_training", "reward_training", "grpo_finetuning", "evaluation"):
        assert getattr(other, section).decisive() == getattr(config, section).decisive()


@WAYS
@given(CONFIGS, some.data())
def test_a_key_that_nobody_knows_is_refused_by_its_name(told: dict[str, Any], data: some.DataObject) -> None:
    if built(told) is None:
        return
    place = data.draw(
        some.sampled_from([None, *(key for key, value in told.items() if value != told["name"])])
    )
    mistyped = told if place is None else told[place]
    mistyped["no_such_setting"] = 1
    with pytest.raises(ValidationError, match="no_such_setting"):
        RunConfig.model_validate(told)
