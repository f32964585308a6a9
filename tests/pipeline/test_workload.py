"""What a text-to-image run computes and holds is told before it was ever run; torch counts the same."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flowmap.artifacts.local_store import LocalStore
from flowmap.grpo.trainer import Grpo
from flowmap.models import TextToImageFacts
from flowmap.models.adapting import lay_adapters
from flowmap.models.model import Model
from flowmap.rewards.protocol import Samples
from flowmap.settings import BaseTraining, GrpoSettings, RunConfig
from flowmap.training.base_losses import map_loss, velocity_loss
from flowmap_pipelines import workload as counted
from flowmap_pipelines.capacity import fit
from flowmap_pipelines.planning import PlannedStep
from flowmap_pipelines.workload import rollout_passes, workload
from tests.cli import flowmap
from tests.text_to_image.facts import BOTH, FACTS, PROMPTS
from tests.text_to_image.tiny import tiny, write_stock


def count(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return float(counter.get_total_flops())


def brightness(samples: Samples) -> torch.Tensor:
    return samples.data.flatten(2).mean(2)


class Nothing:
    """A codec that computes nothing: passes of the network are counted."""

    state_shape = FACTS.latent

    def encode(self, data: torch.Tensor) -> torch.Tensor:
        return data

    def decode(self, state: torch.Tensor) -> torch.Tensor:
        return state


@pytest.fixture(params=BOTH, ids=lambda each: each.kind)
def facts(request: pytest.FixtureRequest) -> TextToImageFacts:
    given: TextToImageFacts = request.param
    return given


@pytest.fixture
def model(facts: TextToImageFacts, tmp_path: Path) -> Model:
    found = tiny(tmp_path, facts)
    found.codec = Nothing()
    return found


def one_pass(model: Model) -> float:
    """Operations of one evaluation for one sample."""
    x, t, told = torch.randn(2, *FACTS.latent), torch.tensor([0.9, 0.3]), model.condition(PROMPTS[:2])
    with torch.no_grad():
        return count(lambda: model.network(x, t, 0 * t, told)) / 2


def test_a_pass_is_what_its_matrices_multiply(model: Model, facts: TextToImageFacts) -> None:
    assert facts.flops == pytest.approx(one_pass(model), rel=0.06)  # what modulates a block is left out


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"composed": False},
        {"window": [0, 1], "updates_per_rollout": 1},
        {"grid": [1, 0.5, 0], "composed": False},
        {"kernel": "local"},
    ],
)
def test_the_passes_of_a_rollout(model: Model, given: dict[str, Any], lora: bool) -> None:
    if lora:
        lay_adapters(model, 1, 2.0)
        given = {**given, "lora": {"rank": 1, "alpha": 2}}
    else:
        model.network.requires_grad_(True)
    config = RunConfig.model_validate(
        {
            "name": "x",
            "base_training": {"flux": {}},
            "grpo_finetuning": {"groups": 2, "group_size": 4, **given},
        }
    )
    section = config.grpo_finetuning
    of_loop = {name: getattr(section, name) for name in GrpoSettings.model_fields}
    grpo = Grpo(model, [brightness], PROMPTS, GrpoSettings.model_validate(of_loop))
    told = rollout_passes(section) * one_pass(model)
    assert told == pytest.approx(count(lambda: grpo.rollout(0)), rel=0.1)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"flux": {}}, counted._MAP_BY_DIFFERENCE),
        (
            {"checkpoint": {"source": "x", "convert": True, "precision": "bfloat16"}, "lora": {"rank": 1}},
            counted._MAP_BY_PRODUCT,
        ),
    ],
)
def test_the_passes_of_an_update(model: Model, section: dict[str, Any], told: float) -> None:
    base = BaseTraining.model_validate(section)
    if base.lora is not None:
        lay_adapters(model, base.lora.rank, base.lora.alpha, second_time=True)
    else:
        model.network.requires_grad_(True)
    x, generator = torch.randn(8, *FACTS.latent), torch.Generator().manual_seed(0)
    condition, single = model.condition([PROMPTS[0]] * 8), one_pass(model)

    def update() -> None:
        map_loss(base, model.network, x, condition, generator)[0].backward()

    assert count(update) / 8 / single == pytest.approx(told, rel=0.1)
    if base.lora is None:

        def velocity() -> None:
            velocity_loss(base, model.network, x, condition, generator)[0].backward()

        assert count(velocity) / 8 / single == pytest.approx(counted._VELOCITY, rel=0.1)


def test_evaluation_is_counted_by_what_it_asks_for() -> None:
    def passes(num_prompts: int, **evaluation: Any) -> float:
        raw = {"name": "x", "base_training": {"flux": {}}, "evaluation": evaluation}
        return workload(RunConfig.model_validate(raw), FACTS, num_prompts).flops["evaluation"] / FACTS.flops

    few = passes(10, samples_per_prompt=4, evaluations=[4], baseline_evaluations=[20])
    # gate, three models, the baseline by Euler and Heun, controls and snapshots, the reference
    assert few == 40 * (4 * 12 + 3 * 4 + 2 * (4 + 20) + 4 * (8 + 4 + 6) + 20)
    assert passes(2000, samples_per_prompt=4) == pytest.approx(200 * passes(10, samples_per_prompt=4))


def flux_1(folder: Path) -> Path:
    """What FLUX.1-schnell says of itself, beside weights of a tiny one."""
    made = write_stock(folder)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    for name, values in {
        "transformer/config.json": {
            "num_layers": 19,
            "num_single_layers": 38,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 768,
            "in_channels": 64,
            "axes_dims_rope": [16, 56, 56],
        },
        "vae/config.json": {
            "latent_channels": 16,
            "block_out_channels": [128, 256, 512, 512],
            "layers_per_block": 2,
            "norm_num_groups": 32,
            "mid_block_add_attention": True,
            **blocks,
        },
        "text_encoder/config.json": {"hidden_size": 768},
        "text_encoder_2/config.json": {"d_model": 4096},
        "tokenizer_2/tokenizer_config.json": {"model_max_length": 512},
    }.items():
        file = made / name
        file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return made


def test_of_a_checkpoint_that_never_ran_here_memory_and_hours_are_told(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(
        "\n".join(f'a sign with the word "w{index}"' for index in range(300))
    )
    config = yaml.safe_load(Path("examples/flux_schnell_lora.yaml").read_text())
    config["base_training"]["checkpoint"] = {
        "source": str(flux_1(tmp_path / "flux")),
        "precision": "bfloat16",
    }
    config["data_prep"]["prompts"] = str(tmp_path / "prompts.txt")
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(config))
    planned = flowmap("plan", str(path), "--root", str(tmp_path / "root"), "--json")
    assert planned.returncode == 0, planned.stderr
    told = json.loads(planned.stdout)
    parts = {name: size / 2**30 for name, size in told["gpu_parts"].items()}
    assert parts["policy and reference"] == pytest.approx(11.9e9 * 2 / 2**30, rel=0.01)
    assert parts["autoencoder"] == pytest.approx(83.8e6 * 4 / 2**30, rel=0.01)
    assert parts["rewards"] == pytest.approx(3.67, abs=0.01)  # PickScore
    assert told["base_gpu_parts"] == {}  # nothing is trained there
    assert set(told["hours"]) == {"grpo_finetuning", "evaluation"}
    assert told["hours"]["grpo_finetuning"] == pytest.approx(3.3, rel=0.1)
    text = flowmap("plan", str(path), "--root", str(tmp_path / "root")).stdout
    assert "GRPO's memory on each GPU, about: 3" in text
    assert "  grpo_finetuning       3.3   4.7e+18 operations" in text
    assert "price" not in text


def test_more_processes_share_the_hours(tmp_path: Path) -> None:
    def hours(processes: int, **more: Any) -> dict[str, float]:
        section = {"groups": 8, "processes": processes, **more}
        raw = {"name": "x", "base_training": {"flux": {}}, "grpo_finetuning": section}
        return workload(RunConfig.model_validate(raw), FACTS, 100).hours

    one, eight = hours(1), hours(8)
    assert one["grpo_finetuning"] == pytest.approx(8 * eight["grpo_finetuning"])
    assert one["evaluation"] == eight["evaluation"]
    again = hours(1, gradient_checkpointing=True)
    assert one["grpo_finetuning"] < again["grpo_finetuning"] < 1.3 * one["grpo_finetuning"]


def test_what_can_not_be_looked_at_is_said(tmp_path: Path) -> None:
    config = yaml.safe_load(Path("examples/flux_schnell_lora.yaml").read_text())
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    config["data_prep"]["prompts"] = str(tmp_path / "prompts.txt")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    planned = flowmap(
        "plan",
        str(tmp_path / "c.yaml"),
        "--root",
        str(tmp_path / "root"),
        environment={"HF_HUB_OFFLINE": "1"},
    )
    assert planned.returncode == 0, planned.stderr
    assert "not known: base_training.checkpoint: black-forest-labs/FLUX.1-schnell on the" in planned.stdout


def test_a_machine_without_the_libraries_plans_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those are that only submit."""
    monkeypatch.setitem(sys.modules, "flowmap.text_to_image.looking", None)
    config = RunConfig.model_validate(
        {"name": "x", "base_training": {"checkpoint": {"source": "there", "convert": True}}}
    )
    planned = [PlannedStep("data_prep", reused=False, reason="x", last=None, output=None)]
    told = fit(config, None, planned, LocalStore(tmp_path)).to_text()
    assert "not known without flowmap.text_to_image.looking, which is not installed here" in told
