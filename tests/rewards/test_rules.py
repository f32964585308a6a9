"""GenEval's conditions, on scenes that are drawn; detectors of the true classes that have learnt nothing."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPTokenizerFast,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

from flowmap.errors import ConfigError
from flowmap.rewards.building import Materials, build_rewards
from flowmap.rewards.conditions import Thing, classes_of, problem_of, share_fulfilled
from flowmap.rewards.protocol import Samples
from flowmap.rewards.rules import RulesReward, detector, nearest_colour
from flowmap.rewards.sources import modules_of
from flowmap.settings import GrpoFinetuning, Pretrained, load_config

CPU = torch.device("cpu")
ATTRIBUTION = {"include": [{"class": "cup", "color": "red"}, {"class": "dog", "color": "blue"}]}
RED, BLUE = (1.0, -1.0, -1.0), (-1.0, -1.0, 1.0)


def thing(name: str, x: float, y: float, side: float = 10, **more: Any) -> Thing:
    return Thing(name, (x, y, x + side, y + side), **more)


@pytest.mark.parametrize(
    ("found", "demands", "share"),
    [
        ([thing("dog", 0, 0)], {"include": [{"class": "dog", "count": 1}]}, 1.0),
        ([thing("cat", 0, 0)], {"include": [{"class": "dog", "count": 1}]}, 0.0),
        ([thing("dog", 0, 0)], {"include": [{"class": "dog", "count": 2}]}, 0.5),
        # counting: three and not four
        (
            [thing("dog", 20 * i, 0) for i in range(4)],
            {"include": [{"class": "dog", "count": 3}], "exclude": [{"class": "dog", "count": 4}]},
            (1 + 0.75) / 2,
        ),
        ([thing("cup", 0, 0, colour="red")], {"include": [{"class": "cup", "color": "red"}]}, 1.0),
        ([thing("cup", 0, 0, colour="blue")], {"include": [{"class": "cup", "color": "red"}]}, 0.5),
        (
            [thing("cup", 0, 0), thing("dog", 40, 0)],
            {"include": [{"class": "cup"}, {"class": "dog", "position": ["right of", 0]}]},
            1.0,
        ),
        (
            [thing("cup", 40, 0), thing("dog", 0, 0)],
            {"include": [{"class": "cup"}, {"class": "dog", "position": ["right of", 0]}]},
            2 / 3,
        ),
        # attribution: each colour to the thing that it was asked of
        ([thing("cup", 0, 0, colour="red"), thing("dog", 40, 0, colour="blue")], ATTRIBUTION, 1.0),
        ([thing("cup", 0, 0, colour="blue"), thing("dog", 40, 0, colour="red")], ATTRIBUTION, 0.5),
        # of more than were asked for the surest decide, as in GenEval
        (
            [
                thing("cup", 0, 0, colour="blue", confidence=0.9),
                thing("cup", 40, 0, colour="red", confidence=0.4),
            ],
            {"include": [{"class": "cup", "color": "red"}]},
            0.5,
        ),
        (
            [thing("cup", 0, 0, colour="red", confidence=each) for each in (0.9, 0.8, 0.5)]
            + [thing("cup", 0, 0, colour="blue", confidence=0.4)],
            {"include": [{"class": "cup", "count": 3, "color": "red"}]},
            1.0,
        ),
        (
            [
                thing("cup", 0, 0, confidence=0.9),
                thing("dog", 40, 0, confidence=0.4),
                thing("dog", -40, 0, confidence=0.8),
            ],
            {"include": [{"class": "cup"}, {"class": "dog", "position": ["right of", 0]}]},
            2 / 3,
        ),
        ([], {}, 1.0),
    ],
)
def test_conditions_are_met_in_part(found: Sequence[Thing], demands: dict[str, Any], share: float) -> None:
    assert share_fulfilled(found, demands) == pytest.approx(share)
    assert share_fulfilled(found, demands, strict=True) == float(share == 1)


def test_a_thing_lies_beside_another_or_nowhere() -> None:
    middle = thing("cup", 50, 50)
    ways = {"left of": (20, 50), "right of": (80, 50), "above": (50, 20), "below": (50, 80)}
    for way, (x, y) in ways.items():
        assert [other for other in ways if thing("dog", x, y).lies(other, middle)] == [way]
    assert not any(thing("dog", 51, 51).lies(way, middle) for way in ways)
    assert [way for way in ways if thing("dog", 80, 80).lies(way, middle)] == ["right of", "below"]


@pytest.mark.parametrize(
    ("demands", "told"),
    [
        ({"include": [{"class": "cup", "position": ["left of", 0]}]}, "object that stands before it"),
        (
            {"include": [{"class": "cup"}, {"class": "dog", "position": ["beside", 0]}]},
            "the ways are left of",
        ),
        (
            {"include": [{"class": "cup"}, {"class": "dog", "position": "left"}]},
            "a way and an object's index",
        ),
        ({"include": [{"count": 2}]}, r"include\[0\] names no class"),
        ({"include": [{"class": "cup", "count": "two"}]}, "the count 'two', and a number from 1 on"),
        ({"exclude": [{"class": "cup"}]}, r"exclude\[0\] has the count None"),
        ({"include": "a cup"}, "include is to be a list of objects"),
    ],
)
def test_demands_that_can_not_be_understood_are_named(demands: dict[str, Any], told: str) -> None:
    found = problem_of(demands)
    assert found is not None
    assert re.search(told, found), found


def test_demands_as_geneval_writes_them_are_understood() -> None:
    include = [{"class": "cup", "count": 1}, {"class": "dog", "count": 2, "position": ["right of", 0]}]
    assert problem_of({"include": include, "exclude": [{"class": "cup", "count": 2}]}) is None
    assert problem_of({}) is None


def test_classes_are_those_of_the_demands() -> None:
    demands = {"include": [{"class": "cup"}, {"class": "dog"}], "exclude": [{"class": "cup", "count": 2}]}
    assert classes_of(demands) == ["cup", "dog"]


def scene(*squares: tuple[int, int, tuple[float, float, float]]) -> Tensor:
    picture = torch.ones(3, 64, 64)
    for x, y, colour in squares:
        picture[:, y : y + 16, x : x + 16] = torch.tensor(colour).view(3, 1, 1)
    return picture


def squares_in(picture: Tensor, classes: Sequence[str]) -> list[Thing]:
    """A detector of squares: each cell of 16 pixels that is not white."""
    return [
        Thing("square", (x, y, x + 16, y + 16), 0.95)
        for y in range(0, 64, 16)
        for x in range(0, 64, 16)
        if float(picture[:, y : y + 16, x : x + 16].mean()) < 0.9
    ]


def test_a_drawn_scene_is_scored_by_what_its_prompt_demands() -> None:
    reward = RulesReward(squares_in, nearest_colour)
    pictures = torch.stack(
        [scene((0, 0, RED)), scene((0, 0, BLUE)), scene((0, 0, RED), (32, 32, RED)), scene()]
    )
    red_one = {
        "include": [{"class": "square", "count": 1, "color": "red"}],
        "exclude": [{"class": "square", "count": 2}],
    }
    two = {"include": [{"class": "square", "count": 2}]}
    facts = [red_one, two, {}]
    samples = Samples(pictures[None].expand(3, -1, -1, -1, -1), ["a", "b", "c"], facts)
    scores = reward.score(samples)
    torch.testing.assert_close(scores[0], torch.tensor([1.0, 2 / 3, (2 + 0.5) / 3, 1 / 3]))
    torch.testing.assert_close(scores[1], torch.tensor([0.5, 0.5, 1.0, 0.0]))
    assert scores[2].isnan().all()
    strict = RulesReward(squares_in, nearest_colour, strict=True).score(samples)
    assert strict[0].tolist() == [1, 0, 0, 0]
    unsure = RulesReward(squares_in, nearest_colour, counting=0.99).score(samples)
    assert unsure[1].tolist() == [0, 0, 0, 0]  # none is as sure as a number asks for
    with pytest.raises(ConfigError, match="it looks at pictures"):
        reward.score(Samples(torch.zeros(1, 2, 5), ["a"]))


def test_what_of_a_demand_is_there_is_told_in_words() -> None:
    two_left = {
        "include": [
            {"class": "square", "count": 2, "color": "red"},
            {"class": "square", "color": "blue", "position": ["right of", 0]},
        ],
        "exclude": [{"class": "square", "count": 4}],
    }
    pictures = torch.stack([scene((0, 0, RED), (0, 16, RED), (48, 0, BLUE)), scene((0, 0, RED))])
    (found,) = RulesReward(squares_in, nearest_colour).met(Samples(pictures[None], ["a"], [two_left]))
    assert list(found[0]) == [
        "2 of square",
        "square: red",
        "square",
        "square: blue",
        "square: right of square",
        "fewer than 4 of square",
    ]
    assert all(found[0].values())
    assert [words for words, there in found[1].items() if there] == ["square", "fewer than 4 of square"]


READER = """
from flowmap.rewards.conditions import Thing


def find(picture, classes):
    return [Thing(name, (0, 0, 8, 8), colour="green") for name in classes if float(picture.mean()) > 0.5]
"""


def test_a_function_of_one_s_own_finds_things_in_the_detector_s_place(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(READER)
    config = tmp_path / "c.yaml"
    config.write_text(
        "name: x\ngrpo_finetuning: {rewards: [{kind: python_rules, function: 'mine:find', strict: true}]}\n"
    )
    rewards = load_config(config).grpo_finetuning.rewards
    (tmp_path / "mine.py").unlink()  # it travels with the run
    assert modules_of(rewards) == ("flowmap.rewards.rules",)
    (one,) = build_rewards(rewards, Materials(tmp_path, CPU))
    pictures = torch.stack([torch.ones(1, 16, 16), -torch.ones(1, 16, 16)])
    demands = [
        {"include": [{"class": "dog", "color": "green"}]},
        {"include": [{"class": "dog", "color": "red"}]},
    ]
    scores = one.reward.score(Samples(pictures[None].expand(2, -1, -1, -1, -1), ["a", "b"], demands))
    assert scores.tolist() == [[1, 0], [0, 0]]  # its own colours are not asked for again


def yolos(folder: Path) -> Path:
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 32],
        patch_size=8,
        num_detection_tokens=5,
        id2label={0: "dog", 1: "cup"},
        label2id={"dog": 0, "cup": 1},
    )
    torch.manual_seed(0)
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_a_detector_of_fixed_classes_is_asked_for_some(tmp_path: Path) -> None:
    find = detector(Pretrained(source=str(yolos(tmp_path))), CPU, 0.0, "here")
    picture = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0))
    both = find(picture, ["cup", "dog"])
    assert len(both) == 5
    assert {each.name for each in both} <= {"dog", "cup"}
    assert all(each.name == "cup" for each in find(picture, ["cup"]))
    assert all(0 <= each.confidence <= 1 for each in both)
    settings = {"kind": "rules", "source": str(tmp_path), "threshold": 0.0, "strict": True}
    section = GrpoFinetuning.model_validate({"rewards": [settings]})
    reward = build_rewards(section.rewards, Materials(tmp_path, CPU))[0].reward
    scores = reward.score(
        Samples(picture[None, None] * 2 - 1, ["a dog"], [{"include": [{"class": "dog", "color": "red"}]}])
    )
    assert scores.tolist()[0][0] in (0, 1)


def owl(folder: Path) -> Path:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = [
        "!",
        "<|startoftext|>",
        "<|endoftext|>",
        "!</w>",
        *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    words += list("abcdefghijklmnopqrstuvwxyz")
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizerFast(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        pad_token="!",
        model_max_length=16,
    )
    config = Owlv2Config(
        text_config={
            **small,
            "vocab_size": len(words),
            "max_position_embeddings": 32,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def test_of_a_prompt_that_demands_nothing_there_is_nothing_to_tell(tmp_path: Path) -> None:
    """And no detector is asked for no classes, which those that are told them can't be."""
    find = detector(Pretrained(source=str(owl(tmp_path / "owl"))), CPU, 0.1, "reward rules")
    reward = RulesReward(find, nearest_colour)
    samples = Samples(torch.zeros(1, 2, 3, 64, 64), ["a"], [{}])
    assert reward.met(samples) == [[{}, {}]]
    assert reward.score(samples).isnan().all()


def test_a_detector_that_is_told_its_classes_finds_those(tmp_path: Path) -> None:
    find = detector(Pretrained(source=str(owl(tmp_path / "owl"))), CPU, 0.0, "here")
    found = find(torch.rand(3, 48, 64), ["a cup", "dog"])
    assert found
    assert {each.name for each in found} <= {"a cup", "dog"}


def test_what_is_no_detector_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"^here: .* is no detector of transformers that can be read"):
        detector(Pretrained(source=str(tmp_path)), CPU, 0.3, "here")
