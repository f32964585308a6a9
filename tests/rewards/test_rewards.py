"""Each kind of reward: what it says of samples, and what it says when it can't."""

import base64
import math
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowmap.errors import ConfigError, RewardError
from flowmap.rewards import Samples
from flowmap.rewards.building import Materials, build_rewards
from flowmap.rewards.classifier import (
    Classifier,
    ClassifierFacts,
    ClassifierReward,
    write_classifier,
)
from flowmap.rewards.http import HttpReward
from flowmap.rewards.mmd import MmdReward
from flowmap.rewards.preference import PreferenceFacts, PreferenceNetwork, write_preference
from flowmap.rewards.sources import function_digests
from flowmap.rewards.trained import TrainedFacts, write_reference
from flowmap.settings import AnyReward, GrpoFinetuning, PythonSettings, RunConfig, load_config
from tests.rewards.conftest import Answer

SHAPE, PROMPTS = (1, 4, 4), ("a", "b")
EXAMPLES = Path(__file__).parents[2] / "examples"


def samples(num_groups: int = 2, num_members: int = 3, seed: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn(num_groups, num_members, *SHAPE, generator=generator)
    return Samples(data, [PROMPTS[group % 2] for group in range(num_groups)])


def settings(*rewards: dict[str, Any]) -> tuple[AnyReward, ...]:
    return GrpoFinetuning.model_validate({"rewards": list(rewards)}).rewards


@pytest.fixture
def materials(tmp_path: Path) -> Materials:
    """What reward_training leaves, untrained."""
    torch.manual_seed(0)
    write_reference(
        tmp_path, TrainedFacts(shape=SHAPE, prompts=PROMPTS), torch.randn(20, *SHAPE), torch.arange(20) % 2
    )
    told = PreferenceFacts(real_score=0.3, real_reward=-0.7, pair_accuracy={}, num_pairs=0)
    write_preference(tmp_path, PreferenceNetwork(SHAPE, 2), told)
    return Materials(tmp_path, torch.device("cpu"))


def test_the_default_is_the_saturating_preference_and_the_distance_of_a_group(materials: Materials) -> None:
    preference, mmd = build_rewards(GrpoFinetuning().rewards, materials)
    assert (preference.weight, mmd.weight) == (1.0, 3.0)
    assert bool((preference.reward.score(samples()) < 0).all())
    assert mmd.reward.score(samples()).shape == (2, 3)
    (raw,) = build_rewards(settings({"kind": "preference", "saturating": False}), materials)
    expected = nn.functional.logsigmoid(raw.reward.score(samples()) - 0.3)
    torch.testing.assert_close(preference.reward.score(samples()), expected)


def test_a_group_on_the_data_gains_more_than_one_that_collapsed() -> None:
    real = torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(1))
    reward = MmdReward({"a": real})
    spread, collapsed = real[:16][None], real[:1].expand(16, *SHAPE)[None]
    assert reward.score(Samples(spread, ["a"])).mean() > reward.score(Samples(collapsed, ["a"])).mean()


def test_a_classifier_gives_log_probabilities_up_to_what_real_data_get(materials: Materials) -> None:
    with pytest.raises(ConfigError, match=r"set reward_training\.classifier_updates"):
        build_rewards(settings({"kind": "classifier"}), materials)
    torch.manual_seed(1)
    model = Classifier(SHAPE, 2).eval()
    facts = ClassifierFacts(real_accuracy=1.0, real_log_probability=-0.69, real_reward=-0.9)
    write_classifier(materials.trained, model, facts)
    (capped,) = build_rewards(settings({"kind": "classifier"}), materials)
    (whole,) = build_rewards(settings({"kind": "classifier", "saturating": False}), materials)
    found, drawn = whole.reward.score(samples()), samples()
    expected = model(drawn.data[1]).log_softmax(1)[:, 1]
    torch.testing.assert_close(found[1], expected)
    assert float(found.max()) > -0.69
    torch.testing.assert_close(capped.reward.score(drawn), found.clamp(max=-0.69))
    assert isinstance(capped.reward, ClassifierReward)


@pytest.mark.parametrize("kind", ["preference", "classifier"])
def test_a_prompt_that_a_trained_reward_does_not_know_is_named(materials: Materials, kind: str) -> None:
    facts = ClassifierFacts(real_accuracy=1.0, real_log_probability=0.0, real_reward=0.0)
    write_classifier(materials.trained, Classifier(SHAPE, 2), facts)
    (reward,) = build_rewards(settings({"kind": kind}), materials)
    with pytest.raises(ConfigError, match="prompt 'c': the reward knows a, b"):
        reward.reward.score(Samples(torch.zeros(1, 2, *SHAPE), ["c"]))


def test_a_classifier_that_nobody_trains_is_told_before_anything_starts() -> None:
    with pytest.raises(ValueError, match=r"say how long with reward_training\.classifier_updates"):
        RunConfig.model_validate({"name": "x", "grpo_finetuning": {"rewards": [{"kind": "classifier"}]}})


REWARD_FILE = "def bright(samples):\n    return samples.data.flatten(2).mean(2)\n"


def config_with(folder: Path, function: str, text: str | None = REWARD_FILE) -> RunConfig:
    if text is not None:
        (folder / "mine.py").write_text(text)
    path = folder / "run.yaml"
    path.write_text(f"name: x\ngrpo_finetuning:\n  rewards: [{{kind: python, function: '{function}'}}]\n")
    return load_config(path)


def test_a_function_in_a_file_travels_with_the_run_and_its_source_decides_the_digest(
    tmp_path: Path, materials: Materials
) -> None:
    config = config_with(tmp_path, "mine:bright")
    (tmp_path / "mine.py").unlink()
    there = RunConfig.model_validate_json(config.to_json())
    (reward,) = build_rewards(there.grpo_finetuning.rewards, materials)
    drawn = samples()
    torch.testing.assert_close(reward.reward.score(drawn), drawn.data.flatten(2).mean(2))
    other = config_with(tmp_path, "mine:bright", REWARD_FILE + "# edited\n")
    assert other.grpo_finetuning.decisive() != config.grpo_finetuning.decisive()


def test_an_installed_function_is_found_and_its_file_decides_the_digest(
    tmp_path: Path, materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed").mkdir()
    module = tmp_path / "installed" / "somewhere_else.py"
    module.write_text(REWARD_FILE)
    monkeypatch.syspath_prepend(module.parent)
    config = config_with(tmp_path, "somewhere_else:bright", None)
    rewards = config.grpo_finetuning.rewards
    assert isinstance(rewards[0], PythonSettings)
    assert rewards[0].source is None
    (reward,) = build_rewards(rewards, materials)
    assert reward.reward.score(samples()).shape == (2, 3)
    before = function_digests(rewards)
    module.write_text(REWARD_FILE + "# edited\n")
    assert function_digests(rewards) != before


@pytest.mark.parametrize(
    ("function", "text", "told"),
    [
        ("mine:dark", REWARD_FILE, "reward python: mine.py has no function dark; it has bright"),
        ("mine:bright", "def bright(:\n", r"reward python: mine.py, line 1: invalid syntax"),
        ("nowhere:bright", None, "there is no nowhere.py beside the configuration, and no module nowhere"),
    ],
)
def test_a_function_that_is_not_there_is_named(
    tmp_path: Path, materials: Materials, function: str, text: str | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        build_rewards(config_with(tmp_path, function, text).grpo_finetuning.rewards, materials)


def means(asked: dict[str, Any]) -> Tensor:
    data = torch.frombuffer(bytearray(base64.b64decode(asked["samples"])), dtype=torch.float32)
    return data.view(asked["shape"]).flatten(1).mean(1)


def test_a_service_gets_batches_with_prompts_and_its_scores_come_back_in_order(
    serve: Callable[[Answer], str],
) -> None:
    sizes, prompts = [], []

    def answer(asked: dict[str, Any]) -> tuple[int, Any]:
        sizes.append(len(asked["prompts"]))
        prompts.extend(asked["prompts"])
        assert asked["facts"] == [{}] * len(asked["prompts"])
        return 200, {"scores": means(asked).tolist()}

    drawn = samples(4, 5)
    found = HttpReward(serve(answer), batch=6).score(drawn)
    torch.testing.assert_close(found, drawn.data.flatten(2).mean(2))
    assert sorted(sizes) == [2, 6, 6, 6]
    assert sorted(prompts) == ["a"] * 10 + ["b"] * 10


def test_null_is_no_verdict(serve: Callable[[Answer], str]) -> None:
    found = HttpReward(serve(lambda asked: (200, {"scores": [None, 1.5, 2]}))).score(samples(1, 3))
    assert math.isnan(float(found[0, 0]))
    assert found[0, 1:].tolist() == [1.5, 2.0]


def test_a_service_that_is_away_is_asked_again(serve: Callable[[Answer], str]) -> None:
    asked_times: list[int] = []

    def answer(asked: dict[str, Any]) -> tuple[int, Any]:
        asked_times.append(1)
        return (503, b"") if len(asked_times) < 3 else (200, {"scores": means(asked).tolist()})

    url = serve(answer)
    assert HttpReward(url, first_pause_s=0.01).score(samples(1, 2)).shape == (1, 2)
    assert len(asked_times) == 3
    with pytest.raises(RewardError, match=r"http://127\.0\.0\.1:1/ can't be reached .*, 2 times"):
        HttpReward("http://127.0.0.1:1/", tries=2, first_pause_s=0.01).score(samples(1, 2))


def test_a_service_that_is_too_slow_is_given_up(serve: Callable[[Answer], str]) -> None:
    wait = threading.Event()

    def answer(asked: dict[str, Any]) -> tuple[int, Any]:
        wait.wait(10)
        return 200, {"scores": []}

    reward = HttpReward(serve(answer), timeout_s=0.1, tries=2, first_pause_s=0.01)
    with pytest.raises(RewardError, match=r"timed out.*, 2 times"):
        reward.score(samples(1, 2))
    wait.set()


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (404, b"no such model", "answered 404: no such model"),
        (200, b"<html>", r'answered no \{"scores": \[...\]\} but \'<html>\''),
        (200, {"scores": ["high", 1]}, r'answered no \{"scores"'),
        (200, {"scores": [1.0]}, "gave 1 scores for 2 samples"),
    ],
)
def test_a_wrong_answer_is_shown(
    serve: Callable[[Answer], str], status: int, answer: Any, told: str
) -> None:
    with pytest.raises(RewardError, match=told):
        HttpReward(serve(lambda asked: (status, answer))).score(samples(1, 2))


def test_the_reference_server_scores() -> None:
    command = [sys.executable, str(EXAMPLES / "reward_server.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None
            drawn = samples()
            drawn.data[0, 0, 0, 0, 0] = math.inf
            scores = HttpReward(found[0]).score(drawn)
        finally:
            server.kill()
    assert math.isnan(float(scores[0, 0]))
    torch.testing.assert_close(scores[1], drawn.data[1].flatten(1).mean(1))
