"""What docs/bring-your-own.md shows is short, and works as it stands."""

import json
import runpy
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from flowmap.artifacts.local_store import LocalStore
from flowmap.data_prep.prompts_alone import read_prompts
from flowmap.data_prep.validation import validate
from flowmap.errors import DataError
from flowmap.registry import Registry
from flowmap.registry.documents import documents_prefix
from flowmap.rewards import Samples
from flowmap.rewards.building import Materials, build_rewards
from flowmap.settings import DataPrep, load_config
from flowmap.text_to_image.publishing import write_pipeline
from tests.cli import flowmap
from tests.docs.test_commands import ROOT, blocks, commands
from tests.text_to_image.facts import FACTS, GRID
from tests.text_to_image.tiny import tiny, write_stock

TEXT = (ROOT / "docs" / "bring-your-own.md").read_text()
PROMPTS, REWARD, CONFIG = (blocks(TEXT, language)[0] for language in ("jsonl", "python", "yaml"))
_MOST_LINES = 30
SMALL = {
    "resize": [16, 16],
    "grpo": {"rollouts": 2, "groups": 2, "group_size": 4, "snapshots": 1, "lora": {"rank": 2, "alpha": 8.0}},
    "evaluation": {"samples_per_prompt": 8, "baseline_evaluations": [2], "resamples": 50},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("prompts.jsonl", PROMPTS), ("colours.py", REWARD), ("mugs.yaml", CONFIG)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_each_is_under_thirty_lines() -> None:
    for text in (PROMPTS, REWARD, CONFIG):
        assert len(text.splitlines()) < _MOST_LINES


def test_the_reward_says_which_picture_is_nearer(folder: Path) -> None:
    config = load_config(folder / "mugs.yaml")
    (built,) = build_rewards(config.grpo_finetuning.rewards, Materials(folder, torch.device("cpu")))
    found, _ = read_prompts(folder / "prompts.jsonl", "prompt")
    prompt = next(iter(found))
    red = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 8, 8)
    scores = built.reward.score(Samples(torch.stack([red, -red])[None], [prompt], [found[prompt]]))
    assert scores[0, 0] == pytest.approx(0)
    assert scores[0, 1] == pytest.approx(-(12**0.5))


def test_what_the_user_expects_is_what_great_expectations_knows() -> None:
    section = DataPrep.model_validate(yaml.safe_load(blocks(TEXT, "yaml")[1])["data_prep"])
    table = pd.DataFrame(
        {
            "id": [str(index) for index in range(3000)],
            "digest": [f"{index:064x}" for index in range(3000)],
            "shape": "1x8x8",
            "prompt": ["cat", "dog"] * 1500,
            "split": ["base", "reward", "judge", "holdout"] * 750,
            **dict.fromkeys(("min", "max", "mean"), 0.0),
        }
    )
    validate(table, more=section.expectations)
    with pytest.raises(DataError, match=r"fail 3 of"):
        validate(table[:2000].assign(prompt=["cat", "cow"] * 1000, mean=0.6), more=section.expectations)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_of_it_runs_with_a_checkpoint_of_a_few_thousand_weights(folder: Path) -> None:
    write_pipeline(tiny(folder / "tiny"), FACTS, GRID, folder / "given")
    config = yaml.safe_load(CONFIG)
    config["data_prep"] |= {"resize": SMALL["resize"], "prompts": str(folder / "prompts.jsonl")}
    config["base_training"]["checkpoint"] = {"source": str(folder / "given"), "precision": "bfloat16"}
    config["grpo_finetuning"] |= SMALL["grpo"]
    config["evaluation"] |= SMALL["evaluation"]
    del config["evaluation"]["rewards"][1]  # its weights are on the hub
    (folder / "small.yaml").write_text(yaml.safe_dump(config))
    root = ("--root", str(folder / "root"))
    ran = flowmap("run", str(folder / "small.yaml"), *root)
    assert ran.returncode in (0, 3), ran.stderr
    assert "4 prompts without data, told apart by kind" in ran.stderr
    exported = flowmap(
        "models", "export", "mugs@rejected" if ran.returncode else "mugs", str(folder / "out"), *root
    )
    assert exported.returncode == 0, exported.stderr
    assert list((folder / "out" / "lora").glob("*.safetensors"))
    _base_is_published_whole(folder / "root", root)


def small(path: Path) -> None:
    """What `init` wrote, as small as the checkpoint is; rewards with weights on the hub are functions."""
    config = yaml.safe_load(path.read_text())
    config["data_prep"] |= {"resize": SMALL["resize"]}
    config["grpo_finetuning"] |= SMALL["grpo"]
    config["evaluation"] |= SMALL["evaluation"]
    for section, function in (("grpo_finetuning", "nearness"), ("evaluation", "is_near")):
        assert config[section]["rewards"]
        config[section]["rewards"] = [{"kind": "python", "function": f"colours:{function}"}]
    path.write_text(yaml.safe_dump(config))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_afternoon_s_commands_come_to_a_lora(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand on the page, but for the checkpoint and what follows from its size."""
    given = write_stock(folder / "stock")
    monkeypatch.chdir(folder)
    (folder / "mugs.yaml").unlink()
    asked = [words[1:] for words in commands(ROOT / "docs" / "bring-your-own.md", "flowmap")]
    names = [words[0] for words in asked]
    assert names == ["init", "plan", "run", "report", "sample", "models"]
    turned_down = False
    for words in asked:
        here = ["mugs@rejected" if turned_down and word == "mugs" else word for word in words]
        here = [str(given) if word.startswith("black-forest-labs/") else word for word in here]
        done = flowmap(*here)
        assert done.returncode in ((0, 3) if words[0] == "run" else (0,)), (words, done.stderr)
        if words[0] == "init":
            small(folder / "mugs.yaml")
        if words[0] == "plan":
            assert "GRPO's memory on each GPU, about:" in done.stdout
            assert "hours, about" not in done.stdout  # of so small a model there are none worth telling
        turned_down |= done.returncode == 3
    assert (folder / "mugs.png").stat().st_size > 100
    assert list((folder / "mugs-pipeline" / "lora").glob("*.safetensors"))
    _is_drawn_as_the_page_says(given)


def _base_is_published_whole(root: Path, given: tuple[str, ...]) -> None:
    """A checkpoint that came as it is leaves nothing out, so version and artifact have one digest."""
    store = LocalStore(root / "store")
    base = Registry(store, "mugs").resolve("1")
    assert base.manifest.digest == base.candidate
    assert base.documents is not None
    verified = flowmap("lineage", "verify", *given)
    assert verified.returncode == 0, verified.stdout
    for command in (("diff", "mugs@1", "mugs@1"), ("show", "mugs@1"), ("export", "mugs@1")):
        asked = flowmap("lineage", *command, *given)
        assert asked.returncode == 0, asked.stderr
    bill = json.loads(store.get(f"{documents_prefix(base)}/bom.cdx.json"))
    refs = [each["bom-ref"] for each in [bill["metadata"]["component"], *bill["components"]]]
    assert len(refs) == len(set(refs))
    (made_of,) = [each["dependsOn"] for each in bill["dependencies"] if each["ref"] == base.candidate]
    assert made_of
    assert set(made_of) <= set(refs)


def _is_drawn_as_the_page_says(given: Path) -> None:
    """Its last block, at the size of the checkpoint; what it says of FLUX.1-schnell stands in the card."""
    code = TEXT.rpartition("```python\n")[2].partition("```")[0]
    for page, here in (("black-forest-labs/FLUX.1-schnell", str(given)), ("=512", "=16"), ("=256", "=6")):
        assert page in code
        code = code.replace(page, here)
    Path("last.py").write_text(code)
    runpy.run_path("last.py")
    assert Image.open("mug.png").size == (16, 16)
    card = Path("mugs-pipeline/lora/README.md").read_text()
    assert "They belong to the checkpoint that was tuned, in a folder of its own, and to no other" in card
    assert str(given) not in card
    assert "sigmas=[1.0, 0.75, 0.5, 0.25]," in card
