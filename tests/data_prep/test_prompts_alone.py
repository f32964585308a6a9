"""Prompts without data: how their files are read, what of them is a category, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from flowmap.data.dataset import read_facts, read_split
from flowmap.data.external import external_digests
from flowmap.data.facts import DataFacts
from flowmap.data_prep.prompts_alone import read_prompts
from flowmap.data_prep.step import run
from flowmap.errors import ConfigError, DataError
from flowmap.settings import DataPrep, load_config

GENEVAL = [
    {"tag": "counting", "include": [{"class": "dog", "count": 2}], "prompt": "a photo of  two dogs"},
    {"tag": "counting", "include": [{"class": "cat", "count": 3}], "prompt": "a photo of three cats"},
    {"tag": "colors", "include": [{"class": "cup", "color": "red"}], "prompt": "a photo of a red cup"},
    {"tag": "colors", "include": [{"class": "bus", "color": "blue"}], "prompt": "a photo of a blue bus"},
    {"tag": "colors", "include": [{"class": "bus", "color": "blue"}], "prompt": "a photo of a blue bus "},
]


def prepared(path: Path, out: Path, **settings: object) -> DataFacts:
    section = DataPrep.model_validate({"prompts": str(path), "resize": [16, 24], **settings})
    out.mkdir()
    context: Any = SimpleNamespace(section=section, out=out, scratch=out, expectations=[])
    run(context)
    return read_facts(out)


def geneval(folder: Path) -> Path:
    path = folder / "geneval.jsonl"
    path.write_text("\n".join(map(json.dumps, GENEVAL)))
    return path


def test_geneval_s_file_is_read_with_what_each_prompt_demands(tmp_path: Path) -> None:
    facts = prepared(geneval(tmp_path), tmp_path / "out")
    assert facts.prompts_alone
    assert facts.shape == (3, 16, 24)
    assert (facts.num_read, facts.num_duplicates) == (5, 1)
    assert facts.prompt_facts is not None
    index = facts.prompts.index("a photo of two dogs")
    assert facts.prompt_facts.demanded(index) == {
        "tag": "counting",
        "include": [{"class": "dog", "count": 2}],
    }
    assert list(facts.prompt_facts.attributes) == ["tag"]
    assert DataFacts.model_validate_json(facts.model_dump_json()) == facts
    for split in ("base", "reward", "judge", "holdout"):
        assert len(read_split(tmp_path / "out", split)) == 0


def test_a_text_file_has_one_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text('\ufeffa sign that says "stop"\n\n  a cat \r\na cat\n', encoding="utf-8")
    facts = prepared(path, tmp_path / "out", kept_prompts={"from_grpo": 0.5})
    assert facts.prompts == ("a cat", 'a sign that says "stop"')
    assert facts.prompt_facts is not None
    assert len(facts.prompt_facts.of_grpo(facts.prompts)) == 1


def test_tables_have_a_column_of_prompts(tmp_path: Path) -> None:
    table = pd.DataFrame({"Prompts": ["one", "two", "three", "four"], "Category": ["A", "B", "A", "B"]})
    table.to_csv(tmp_path / "drawbench.csv", index=False)
    table.assign(number=[1, 2, 3, 4]).to_parquet(tmp_path / "drawbench.parquet")
    facts = prepared(tmp_path / "drawbench.csv", tmp_path / "out", prompt_column="Prompts", color="grey")
    assert facts.shape == (1, 16, 24)
    assert facts.prompt_facts is not None
    assert facts.prompt_facts.attributes == {"Category": ("B", "A", "A", "B")}
    found, _ = read_prompts(tmp_path / "drawbench.parquet", "Prompts")
    assert found["two"] == {"Category": "B", "number": 2}
    with pytest.raises(DataError, match=r"has no column prompt; it has Prompts, Category"):
        read_prompts(tmp_path / "drawbench.csv", "prompt")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.txt", "\n \n", "holds no prompt"),
        ("x.jsonl", '{"prompt": "a"}\n{"prompt": " "}', "row 2 has an empty prompt"),
        ("x.jsonl", '{"prompt": "a", "n": 1}\n{"prompt": "a", "n": 2}', "1 prompts stand there twice"),
        ("x.jsonl", "[1]", "line 1 is no JSON object"),
    ],
)
def test_what_is_no_file_of_prompts_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=told):
        read_prompts(tmp_path / name, "prompt")


def test_the_file_decides_the_digest_and_has_to_be_there(tmp_path: Path) -> None:
    path = geneval(tmp_path)
    section = DataPrep(prompts=str(path), resize=(16, 16))
    before = external_digests(section)
    assert list(before) == ["prompts"]
    path.write_text(path.read_text().replace("red", "green"))
    assert external_digests(section) != before
    with pytest.raises(DataError, match="there is no file"):
        external_digests(DataPrep(prompts=str(tmp_path / "gone.txt"), resize=(16, 16)))


CHECKPOINT = "\nbase_training: {checkpoint: {source: there}}"
JUDGED = "\nevaluation: {rewards: [{kind: ocr}]}"
PAID = "\ngrpo_finetuning: {rewards: [{kind: ocr}]}"


@pytest.mark.parametrize(
    ("section", "rest", "told"),
    [
        ("{prompts: x.txt}", CHECKPOINT + JUDGED + PAID, r"say how large they are to be, such as resize"),
        (
            "{prompts: x.txt, resize: [8, 8], source: mnist}",
            CHECKPOINT + JUDGED + PAID,
            r"come without data: leave out source",
        ),
        ("{prompts: x.txt, resize: [8, 8]}", JUDGED + PAID, r"set base_training.checkpoint"),
        (
            "{prompts: x.txt, resize: [8, 8]}",
            CHECKPOINT + PAID,
            r"set evaluation.rewards, of which the first",
        ),
        (
            "{prompts: x.txt, resize: [8, 8]}",
            CHECKPOINT + JUDGED,
            r"grpo_finetuning.rewards: preference and mmd asks for data",
        ),
        ("{source: digits}", "\nevaluation: {fulfilled: 1}", r"evaluation.fulfilled: set where"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, section: str, rest: str, told: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"name: x\ndata_prep: {section}{rest}\n")
    with pytest.raises(ConfigError, match=told):
        load_config(path)
    path.write_text(f"name: x\ndata_prep: {{prompts: x.txt, resize: [8, 8]}}{CHECKPOINT}{JUDGED}{PAID}\n")
    assert load_config(path).data_prep.prompts == "x.txt"
