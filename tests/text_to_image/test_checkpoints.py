"""A checkpoint that is there already as the base: taken over as it is, or refused before hours are spent."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from flowmap.asfmc.gaussian import GaussianStep
from flowmap.asfmc.rollout import Transition
from flowmap.data.pretrained import pretrained_digest
from flowmap.errors import ConfigError, DataError
from flowmap.grpo.objective import log_ratio
from flowmap.grpo.trainer import Grpo
from flowmap.maps import OneTimeMap
from flowmap.models import ADAPTERS, FluxFacts, TextToImageFacts
from flowmap.models.adapting import lay_adapters, write_adapters
from flowmap.models.baseline import load_baseline
from flowmap.models.storing import load_model
from flowmap.settings import Checkpoint, GrpoSettings
from flowmap.text_to_image.checkpoints import take_over
from flowmap.text_to_image.families import family_of
from flowmap.text_to_image.network import pack, unpack
from flowmap.text_to_image.publishing import write_pipeline
from tests.faults import fault
from tests.text_to_image.facts import BOTH, DATA, GRID, PROMPTS
from tests.text_to_image.tiny import tiny, write_stock


def digest(given: Checkpoint) -> str:
    return pretrained_digest(given, "base_training.checkpoint")


@pytest.fixture(scope="module", params=BOTH, ids=lambda each: each.kind)
def stock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock"), request.param)


@pytest.fixture
def copy(stock: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stock, tmp_path / "copy"))


def test_it_draws_what_it_drew_before(stock: Path, tmp_path: Path) -> None:
    facts = take_over(Checkpoint(source=str(stock)), DATA, tmp_path, tmp_path)
    assert not facts.two_times
    assert facts.size().parameters == sum(
        value.numel() for value in load_model(tmp_path, "map").network.parameters()
    )
    model = load_baseline(tmp_path)
    assert isinstance(model.flow_map, OneTimeMap)
    x, t = torch.randn(2, *facts.latent), torch.tensor([0.9, 0.3])
    condition = model.condition(PROMPTS[:2])
    pipeline: Any = DiffusionPipeline.from_pretrained(stock)
    told = {"encoder_hidden_states": condition["tokens"], "pooled_projections": condition["pooled"]}
    with torch.no_grad():
        if isinstance(facts, FluxFacts):
            ids = {"img_ids": model.network.image_ids, "txt_ids": model.network.text_ids}
            there = pipeline.transformer(hidden_states=pack(x, 2), timestep=t, **told, **ids).sample
            there = unpack(there, 2, (4, 4))
        else:
            there = pipeline.transformer(hidden_states=x, timestep=1000 * t, **told).sample
        expected = x - t.view(-1, 1, 1, 1) * there
        torch.testing.assert_close(model.flow_map.endpoint(x, t, condition), expected)


@pytest.mark.filterwarnings("ignore")
def test_it_leaves_as_the_class_that_it_came_as(stock: Path, tmp_path: Path) -> None:
    """Tuned by adapters or not, it is drawn by diffusers with no code but its own."""
    base = tmp_path / "base"
    base.mkdir()
    facts = take_over(Checkpoint(source=str(stock)), DATA, tmp_path, base)
    start = torch.randn(3, *facts.latent)
    plain = load_model(base, "map")
    expected = plain.sample(PROMPTS, start, GRID).clamp(-1, 1)
    write_pipeline(plain, facts, GRID, tmp_path / "out")
    assert "trust_remote_code" not in (tmp_path / "out" / "README.md").read_text()
    assert not list((tmp_path / "out").rglob("*.py"))
    lay_adapters(plain, rank=2, alpha=8.0)
    for name, parameter in plain.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = plain.sample(PROMPTS, start, GRID).clamp(-1, 1)
    write_adapters(plain.network, tmp_path / ADAPTERS)
    pipeline: Any = DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipeline.transformer) is family_of(facts).stock
    pipeline.set_progress_bar_config(disable=True)

    def drawn() -> torch.Tensor:
        found: torch.Tensor = pipeline(
            prompt=list(PROMPTS),
            height=16,
            width=16,
            sigmas=list(GRID[:-1]),
            latents=pack(start, 2) if isinstance(facts, FluxFacts) else start,
            output_type="pt",
            max_sequence_length=facts.num_tokens,
            guidance_scale=0.0,
        ).images
        return found * 2 - 1

    torch.testing.assert_close(drawn(), expected, rtol=0, atol=1e-5)
    pipeline.load_lora_weights(tmp_path / ADAPTERS)
    torch.testing.assert_close(drawn(), adapted, rtol=0, atol=1e-5)
    assert float((adapted - expected).abs().max()) > 1e-2


def test_it_is_tuned_with_the_kernel_for_endpoints(stock: Path, tmp_path: Path) -> None:
    take_over(Checkpoint(source=str(stock)), DATA, tmp_path, tmp_path)
    model = load_model(tmp_path, "map")
    model.network.requires_grad_(True)
    settings = GrpoSettings(groups=2, group_size=4, updates_per_rollout=1)
    figures = Grpo(model, [lambda each: each.data.flatten(2).mean(2)], PROMPTS, settings).rollout(0)
    assert figures["drift"] < 1e-5


@pytest.mark.parametrize("adapted", [False, True])
def test_in_half_the_bits_rollout_and_training_are_still_one_policy(
    stock: Path, tmp_path: Path, adapted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all that the kernel computes, states, means and the logarithm of the ratio, is in float32."""
    take_over(Checkpoint(source=str(stock), precision="bfloat16"), DATA, tmp_path, tmp_path)
    model = load_model(tmp_path, "map")
    weights = {name: value.dtype for name, value in model.network.named_parameters()}
    assert set(weights.values()) == {torch.bfloat16}
    if adapted:
        lay_adapters(model, 2, 2.0)
        assert {each.dtype for each in model.parameters()} == {torch.float32}
    else:
        model.network.requires_grad_(True)
    settings = GrpoSettings(groups=2, group_size=4, updates_per_rollout=1, micro_batch=4)
    computed: list[torch.Tensor] = []

    def noted(new: GaussianStep, transition: Transition, **how: Any) -> torch.Tensor:
        found = log_ratio(new, transition, **how)
        old = transition.old
        computed.extend((transition.x_t, transition.x_r, old.mean, old.std, new.mean, new.std, found))
        return found

    monkeypatch.setattr("flowmap.grpo.objective.log_ratio", noted)
    grpo = Grpo(model, [lambda each: each.data.flatten(2).mean(2)], PROMPTS, settings)
    assert grpo.rollout(0)["drift"] == 0
    assert grpo.rollout(1)["drift"] == 0
    assert {each.dtype for each in computed} == {torch.float32}
    plain = model.weights_of(model.network)
    assert {name: value.dtype for name, value in plain.items() if name in weights} == weights


@pytest.mark.parametrize("given", BOTH, ids=lambda each: each.kind)
def test_what_flowmap_wrote_comes_back_with_both_times(given: TextToImageFacts, tmp_path: Path) -> None:
    """And with the times it is drawn at by itself, and the length of text that it was told."""
    given = given.model_copy(update={"shift": 2.2, "num_tokens": given.num_tokens - 1})
    model = tiny(tmp_path / "tiny", given)
    noise = torch.randn(3, *given.latent)
    expected = model.sample(PROMPTS, noise, GRID)
    write_pipeline(model, given, GRID, tmp_path / "pipeline")
    facts = take_over(Checkpoint(source=str(tmp_path / "pipeline")), DATA, tmp_path, tmp_path)
    assert (facts.two_times, facts.shift, facts.num_tokens) == (True, 2.2, given.num_tokens)
    torch.testing.assert_close(load_model(tmp_path, "map").sample(PROMPTS, noise, GRID), expected)


def edited(name: str, **values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return edit


def pickled(folder: Path) -> None:
    weights = folder / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))


def cut_short(folder: Path) -> None:
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def of_gigabytes(folder: Path) -> None:
    """A header that claims 4 GiB, before weights of a few bytes."""
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes((1 << 32).to_bytes(8, "little") + b"{}")


def beyond_its_end(folder: Path) -> None:
    """Weights that claim to lie where the file has ended."""
    header = b'{"x": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 4398046511104]}}'
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header)


def written(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


@fault(
    "weights claim a header of gigabytes, or to lie beyond their file",
    "refused before anything is trained",
    of="writing",
)
@fault(
    "weights that run code when they are read",
    "refused",
    of="writing",
)
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (of_gigabytes, "can't be read"),
        (beyond_its_end, "can't be read"),
        (written("model_index.json", "{"), "model_index.json can't be read: Expecting"),
        (
            written("model_index.json", "[" * 100_000),
            "model_index.json can't be read: it is nested too deep",
        ),
        (
            written("transformer/config.json", '{"a": 1, "a": 2}'),
            "transformer/config.json can't be read: it gives 'a' twice",
        ),
        (lambda folder: (folder / "vae" / "config.json").unlink(), "vae/config.json can't be read"),
        (lambda folder: (folder / "model_index.json").unlink(), "has no model_index.json: a pipeline of"),
        (
            edited("model_index.json", _class_name="SanaPipeline"),
            "is a SanaPipeline, and only a FluxPipeline",
        ),
        (lambda folder: shutil.rmtree(folder / "text_encoder_2"), "has no text_encoder_2"),
        (pickled, r"only pytorch_model.bin, which may run code .* safe_serialization=True"),
        (cut_short, "can't be read"),
        (edited("transformer/config.json", num_layers=3), "weights of the transformer are not as"),
        (edited("transformer/config.json", joint_attention_dim=64), "of width 64, and text_encoder_. gives"),
        (
            edited("transformer/config.json", pooled_projection_dim=64),
            "pooled text of width 64, and text_enc",
        ),
        (edited("vae/config.json", latent_channels=16), "vae gives latents of 16: they are of different mo"),
        (edited("vae/config.json", in_channels=1), "set data_prep.color"),
        (written("scheduler/flowmap.json", '{"num_tokens": 0}'), "flowmap.json says num_tokens 0: a number"),
        (written("scheduler/flowmap.json", '{"shift": "far"}'), "flowmap.json says what no scheduler does"),
        (edited("scheduler/scheduler_config.json", shift="far"), "_config.json says what no scheduler does"),
    ],
)
def test_what_can_not_be_taken_over_is_refused(
    copy: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(copy)
    with pytest.raises(ConfigError, match=said):
        take_over(Checkpoint(source=str(copy)), DATA, tmp_path, tmp_path)


def test_pictures_must_come_out_even(stock: Path, tmp_path: Path) -> None:
    odd = DATA.model_copy(update={"shape": (3, 18, 16)})
    with pytest.raises(ConfigError, match=r"sides that 4 divides .* set data_prep.resize"):
        take_over(Checkpoint(source=str(stock)), odd, tmp_path, tmp_path)


def test_a_changed_file_is_another_checkpoint(copy: Path) -> None:
    before = digest(Checkpoint(source=str(copy)))
    assert digest(Checkpoint(source=str(copy))) == before
    edited("scheduler/scheduler_config.json", shift=3.0)(copy)
    assert digest(Checkpoint(source=str(copy))) != before


def test_a_name_on_the_hub_wants_a_commit() -> None:
    with pytest.raises(DataError, match="wants a revision, the commit's 40"):
        digest(Checkpoint(source="black-forest-labs/FLUX.1-schnell"))
    with pytest.raises(DataError, match=r"no folder /nowhere/at/all; .* written owner/name"):
        digest(Checkpoint(source="/nowhere/at/all"))
    one, other = (Checkpoint(source="a/b", revision=digit * 40) for digit in "01")
    assert digest(one) != digest(other)
    with pytest.raises(ValueError, match="40 hexadecimal digits"):
        Checkpoint(source="a/b", revision="main")


def test_of_a_pipeline_on_the_hub_its_parts_are_fetched_and_no_more() -> None:
    from huggingface_hub.utils._paths import filter_repo_objects

    from flowmap.data.hub import wanted

    there = [
        "model_index.json",
        "flux1-schnell.safetensors",
        "transformer/config.json",
        "transformer/weights-00001-of-00002.safetensors",
        "text_encoder/pytorch_model.bin",
        "tokenizer_2/spiece.model",
        "modeling.py",
    ]
    parts = [there[0], *there[2:4], there[5]]
    folders = ("transformer", "text_encoder", "tokenizer_2")
    assert list(filter_repo_objects(there, allow_patterns=wanted(folders))) == parts
    assert "flux1-schnell.safetensors" in filter_repo_objects(there, allow_patterns=wanted(()))


def test_a_hub_that_can_not_be_reached_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowmap.data.hub import fetch_from_hub

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"a/b on the Hugging Face hub can't be fetched"):
        fetch_from_hub("a/b", "0" * 40, tmp_path, "x")
