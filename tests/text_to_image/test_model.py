"""Text-to-image models: condition, second time, adapters, and how they leave the house."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from flowmap.errors import ConfigError
from flowmap.evaluation.drawing import Drawing
from flowmap.grpo.trainer import Grpo
from flowmap.maps.objectives import central_difference, exact_slope
from flowmap.models import ADAPTERS, FluxFacts, Sd3Facts, TextToImageFacts
from flowmap.models.adapting import lay_adapters, recompute_activations, write_adapters
from flowmap.models.model import Model
from flowmap.models.storing import load_model, load_weights, save_weights
from flowmap.rewards.protocol import Samples
from flowmap.settings import GrpoSettings
from flowmap.text_to_image.building import build
from flowmap.text_to_image.latents import LatentCodec
from flowmap.text_to_image.network import TransformerNetwork, pack, unpack
from flowmap.text_to_image.text import TextConditioner
from tests.text_to_image.facts import BOTH, FACTS, GRID, PROMPTS
from tests.text_to_image.tiny import one_time, write_tiny


@pytest.fixture(scope="module", params=BOTH, ids=lambda each: each.kind)
def facts(request: pytest.FixtureRequest) -> TextToImageFacts:
    given: TextToImageFacts = request.param
    return given


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, facts: TextToImageFacts) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"), facts)


@pytest.fixture
def model(folder: Path) -> Model:
    return load_model(folder, "ema")


def noise(num: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(num, *FACTS.latent, generator=torch.Generator().manual_seed(seed))


def brightness(samples: Samples) -> torch.Tensor:
    return samples.data.flatten(2).mean(2)


def settings(**given: object) -> GrpoSettings:
    few = {"groups": 2, "group_size": 4, "learning_rate": 1e-3}
    return GrpoSettings.model_validate({**few, **given})


def test_its_size_is_counted_as_it_is(model: Model, facts: TextToImageFacts) -> None:
    assert facts.size().parameters == sum(each.numel() for each in model.network.parameters())


def test_a_prompt_is_encoded_once_and_any_text_will_do(model: Model, facts: TextToImageFacts) -> None:
    both = model.condition([PROMPTS[0], PROMPTS[2], PROMPTS[0]])
    num_tokens = facts.num_tokens + (facts.clip_tokens if isinstance(facts, Sd3Facts) else 0)
    assert both["tokens"].shape == (3, num_tokens, facts.text_width)
    assert both["pooled"].shape == (3, facts.pooled_width)
    torch.testing.assert_close(both["tokens"][0], both["tokens"][2], rtol=0, atol=0)
    assert not torch.equal(both["tokens"][0], both["tokens"][1])
    new = model.condition(["a blue dog"])["tokens"][0]
    assert not torch.equal(new, both["tokens"][0])


def test_of_any_number_of_prompts_so_many_are_kept_and_the_bytes_are_the_same(folder: Path) -> None:
    prompts = [f"{word} {what}" for word in ("red", "blue", "a", "the") for what in ("cat", "dog", "ball")]
    whole = load_model(folder, "ema").conditioner
    assert isinstance(whole, TextConditioner)
    told = whole.encode(prompts)
    size = sum(leaf[0].nbytes for leaf in told.values())
    few = TextConditioner(whole.encoders, torch.device("cpu"), most_kept=4 * size)
    seen: list[str] = []
    whole.encoders.register_forward_pre_hook(lambda module, given: seen.extend(given[0]))

    few.prepare(prompts)  # more than can be kept: one is looked at, to see how large it is
    assert seen == prompts[:1]
    few.prepare(prompts[:4])
    few.prepare(prompts[:4])
    assert seen[1:] == prompts[:4]
    few.encode(prompts[:4])
    assert seen[1:] == prompts[:4]
    for some in (prompts[6:], prompts[::-1], prompts[3:5]):
        there = few.encode(some)
        for name, leaf in there.items():
            rows = [prompts.index(prompt) for prompt in some]
            torch.testing.assert_close(leaf, told[name][rows], rtol=0, atol=0)
    few.encode(prompts[:4])
    del seen[:]
    few.prepare([prompts[4], prompts[0], prompts[1]])  # what is kept already keeps its place
    del seen[:]
    few.encode([prompts[4], prompts[0], prompts[1]])
    assert seen == []
    few.encode(prompts[:4])
    del seen[:]
    few.encode([prompts[4], prompts[1]])  # in the place of what was asked for longest ago
    few.encode([prompts[0], prompts[1]])
    assert seen == [prompts[4], prompts[0]]


def test_grpo_is_the_same_where_few_prompts_are_kept(folder: Path) -> None:
    told = []
    for most_kept in (2**30, 1):
        model = load_model(folder, "ema")
        assert isinstance(model.conditioner, TextConditioner)
        model.conditioner.most_kept = most_kept
        model.network.requires_grad_(True)
        grpo = Grpo(model, [brightness], PROMPTS, settings())
        told.append([grpo.rollout(index) for index in range(2)])
    assert told[0] == told[1]


def test_samples_are_drawn_alike_where_few_prompts_are_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And encoders come to the device once for as many parts as the prompts that are kept."""
    monkeypatch.setattr("flowmap.evaluation.drawing.PART", 4)
    prompts = tuple(
        f"{word} {what}" for word in ("red", "blue", "a") for what in ("cat", "dog", "ball", "on")
    )
    asked = torch.arange(12).repeat_interleave(2)
    drawing, drawn, moves = Drawing(prompts, asked, noise(24)), [], []
    for share in (None, 5, 1):
        model = load_model(folder, "ema")
        conditioner = model.conditioner
        assert isinstance(conditioner, TextConditioner)
        if share is not None:
            size = sum(leaf[0].nbytes for leaf in conditioner.encode(["x"]).values())
            conditioner.most_kept = share * size
        moved: list[str] = []
        move = conditioner.encoders.to

        def counted(where: object, moved: list[str] = moved, move: Callable[..., object] = move) -> object:
            moved.append(str(where))
            return move(where)

        monkeypatch.setattr(conditioner.encoders, "to", counted)
        drawn.append(torch.cat([data for data, _ in drawing.composed(model, GRID)]))
        moves.append(len(moved) // 2)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert moves[0] == 1
    assert moves[1] == 5  # four blocks of one or two parts, and one look at how large a text is
    assert moves[2] <= 7  # each part by itself


@pytest.mark.parametrize("way", ["encode", "decode"])
def test_pictures_and_latents_go_through_the_autoencoder_some_at_a_time_to_the_same(
    model: Model, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    codec = model.codec
    assert isinstance(codec, LatentCodec)
    given = noise(11) if way == "decode" else torch.rand(11, 3, 16, 16) * 2 - 1
    whole = getattr(codec, way)(given)
    sizes: list[int] = []
    work = getattr(codec.vae, way)

    def counted(part: torch.Tensor) -> object:
        sizes.append(len(part))
        return work(part)

    monkeypatch.setattr(codec.vae, way, counted)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)  # as on a GPU, where that is done
    torch.testing.assert_close(getattr(codec, way)(given), whole, rtol=0, atol=1e-6)
    assert sizes == [8, 3]


@pytest.mark.filterwarnings("ignore")  # weights that are on no device are not filled
def test_all_that_draws_is_on_the_device_and_encoders_come_there_to_encode(folder: Path) -> None:
    model = load_model(folder, "ema", torch.device("meta"))
    assert model.device.type == "meta"
    assert isinstance(model.codec, LatentCodec)
    assert {each.device.type for each in model.codec.vae.parameters()} == {"meta"}
    conditioner = model.conditioner
    assert isinstance(conditioner, TextConditioner)
    assert conditioner.device.type == "meta"
    assert {each.device.type for each in conditioner.encoders.parameters()} == {"cpu"}
    seen = []

    def look(module: object, given: object) -> None:
        seen.append(next(conditioner.encoders.parameters()).device.type)

    here = load_model(folder, "ema").conditioner
    assert isinstance(here, TextConditioner)
    conditioner.encoders.register_forward_pre_hook(look)
    with contextlib.suppress(NotImplementedError):  # what is encoded there can't come back
        conditioner.encode(["a red cat"])
    assert seen == ["meta"]
    assert {leaf.device.type for leaf in here.encode(["a red cat"]).values()} == {"cpu"}


def test_pictures_are_states_and_back(model: Model, facts: TextToImageFacts) -> None:
    pictures = torch.rand(2, *facts.shape) * 2 - 1
    state = model.codec.encode(pictures)
    assert state.shape == (2, *facts.latent)
    assert model.codec.decode(state).shape == pictures.shape
    torch.testing.assert_close(unpack(pack(state, 2), 2, (4, 4)), state, rtol=0, atol=0)


def test_a_difference_stands_for_the_derivative_along_the_path(model: Model) -> None:
    network = model.network.double()
    condition = {name: leaf.double() for name, leaf in model.condition(PROMPTS).items()}
    z, velocity = noise(3).double(), noise(3, seed=4).double()
    t, r = torch.tensor([0.9, 0.5, 0.4]).double(), torch.tensor([0.2, 0.1, 0.4]).double()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        exact = exact_slope(network, z, velocity, t, r, condition)
        near = central_difference(network, z, velocity, t, r, condition)
    size = exact[:2].square().mean().sqrt()
    assert float((near - exact)[:2].square().mean().sqrt() / size) < 1e-2
    assert not near[2].any()  # r is t: what it is multiplied with is 0


def test_other_sizes_are_what_a_model_of_that_size_makes_of_them(
    folder: Path, facts: TextToImageFacts
) -> None:
    stock = one_time(facts)
    model, made_for_it = (
        build(each, parts=folder) for each in (stock, stock.model_copy(update={"latent": (4, 6, 10)}))
    )
    weights = model.network.state_dict()
    for value in weights.values():
        torch.nn.init.normal_(value, std=0.1)
    model.network.load_state_dict(weights)
    made_for_it.network.load_state_dict(weights)
    x, t, condition = torch.randn(2, 4, 6, 10), torch.tensor([0.9, 0.3]), model.condition(PROMPTS[:2])
    with torch.no_grad():
        there, here = (each.network(x, t, t, condition) for each in (made_for_it, model))
    torch.testing.assert_close(here, there)


def test_the_second_time_changes_what_comes_out(model: Model) -> None:
    condition, t = model.condition(PROMPTS), torch.full((3,), 0.8)
    at = [model.network(noise(3), t, t - span, condition) for span in (0.0, 0.3)]
    assert not torch.allclose(at[0], at[1])


def test_adapters_begin_as_nothing_and_are_taken_off_again(model: Model, facts: TextToImageFacts) -> None:
    before = model.sample(PROMPTS, noise(3), GRID)
    whole = sum(each.numel() for each in model.network.parameters())
    lay_adapters(model, rank=2, alpha=4.0)
    assert sum(each.numel() for each in model.parameters()) == facts.adapters(2) < whole / 4
    torch.testing.assert_close(model.sample(PROMPTS, noise(3), GRID), before)
    grpo = Grpo(model, [brightness], PROMPTS, settings(learning_rate=0.05))
    grpo.rollout(0)
    after = model.sample(PROMPTS, noise(3), GRID)
    assert float((after - before).abs().max()) > 1e-4
    t, condition = torch.full((3,), 0.8), model.condition(PROMPTS)
    with torch.no_grad(), model.reference() as reference:
        there = reference.endpoint(noise(3), t, condition)
    assert not torch.allclose(there, model.flow_map.endpoint(noise(3), t, condition))


def test_merged_adapters_are_a_plain_model(model: Model, folder: Path, tmp_path: Path) -> None:
    lay_adapters(model, rank=2, alpha=4.0)
    for name, parameter in model.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    expected = model.sample(PROMPTS, noise(3), GRID)
    save_weights(model.weights_of(model.network), tmp_path / "merged.safetensors")
    plain = load_model(folder, "ema")
    assert not torch.allclose(plain.sample(PROMPTS, noise(3), GRID), expected)
    load_weights(plain.network, tmp_path / "merged.safetensors")
    torch.testing.assert_close(plain.sample(PROMPTS, noise(3), GRID), expected, rtol=1e-4, atol=1e-5)


def test_a_second_time_is_learnt_beside_adapters_whole_and_in_float32(folder: Path) -> None:
    model = load_model(folder, "ema", torch.device("cpu"))
    model.network.to(torch.bfloat16)
    lay_adapters(model, 2, 4.0, second_time=True)
    trained = {name for name, value in model.network.named_parameters() if value.requires_grad}
    whole = {name for name in trained if "lora_" not in name}
    assert whole == {
        f"transformer.time_text_embed.{layer}.{kind}"
        for layer in ("inlet", "outlet")
        for kind in ("weight", "bias")
    }
    assert all(value.dtype == torch.float32 for value in model.parameters())
    assert {value.dtype for value in model.weights_of(model.network).values()} == {torch.bfloat16}


def test_other_networks_take_no_adapters() -> None:
    plain = Model(torch.nn.Linear(2, 2), prompts=["a"], shape=(2,))
    with pytest.raises(ConfigError, match=r"adapters are laid on .* this is a Linear; leave lora out"):
        lay_adapters(plain, 2, 2.0)


def test_activations_that_are_computed_again_train_the_same(folder: Path) -> None:
    """Adapters on half precision, as a model of real size is trained; what is kept is what goes into
    blocks."""

    def trained(again: bool) -> tuple[dict[str, torch.Tensor], int]:
        model, kept = load_model(folder, "ema"), 0
        model.network.to(torch.bfloat16)
        torch.manual_seed(5)
        lay_adapters(model, rank=2, alpha=4.0)
        if again:
            recompute_activations(model)

        def count(saved: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += saved.numel()
            return saved

        grpo = Grpo(model, [brightness], PROMPTS, settings(learning_rate=0.05, updates_per_rollout=1))
        with torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved):
            figures = grpo.rollout(0)
        assert figures["drift"] == 0
        return {
            name: each.detach() for name, each in model.network.named_parameters() if each.requires_grad
        }, kept

    (plain, all_kept), (again, few_kept) = trained(again=False), trained(again=True)
    assert few_kept < 0.5 * all_kept
    for name, value in plain.items():
        assert torch.equal(again[name], value), name


def test_other_networks_keep_their_activations() -> None:
    plain = Model(torch.nn.Linear(2, 2), prompts=["a"], shape=(2,))
    with pytest.raises(ConfigError, match=r"gradient_checkpointing: .* this is a Linear; leave it out"):
        recompute_activations(plain)


def test_rollout_and_training_are_one_policy(model: Model) -> None:
    model.network.requires_grad_(True)
    figures = Grpo(model, [brightness], PROMPTS, settings(micro_batch=3, updates_per_rollout=1)).rollout(0)
    assert figures["drift"] < 1e-5
    assert figures["kl"] >= 0


def test_a_missing_part_is_named(folder: Path, tmp_path: Path, facts: TextToImageFacts) -> None:
    from flowmap.text_to_image.building import build

    with pytest.raises(ConfigError, match="the model has no vae"):
        build(facts, parts=tmp_path)
    (tmp_path / "vae").symlink_to(folder / "vae")
    with pytest.raises(ConfigError, match="the model has no text_encoder: its text encoders can't be read"):
        build(facts, parts=tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_stock_pipeline_draws_what_we_draw(
    model: Model, folder: Path, tmp_path: Path, facts: TextToImageFacts
) -> None:
    from diffusers import DiffusionPipeline

    from flowmap.text_to_image.publishing import write_pipeline

    lay_adapters(model, rank=2, alpha=8.0)
    for name, parameter in model.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = model.sample(PROMPTS, noise(3), GRID)
    write_adapters(model.network, tmp_path / ADAPTERS)

    plain = load_model(folder, "ema")
    expected = plain.sample(PROMPTS, noise(3), GRID)
    write_pipeline(plain, facts, GRID, tmp_path / "pipeline")
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "pipeline", trust_remote_code=True)
    assert not isinstance(pipeline.transformer, TransformerNetwork)

    def draw() -> torch.Tensor:
        pipeline.set_progress_bar_config(disable=True)
        drawn: torch.Tensor = pipeline(
            prompt=list(PROMPTS),
            height=16,
            width=16,
            sigmas=list(GRID[:-1]),
            latents=pack(noise(3), 2) if isinstance(facts, FluxFacts) else noise(3),
            output_type="pt",
            max_sequence_length=facts.num_tokens,
            guidance_scale=0.0,
        ).images
        return drawn * 2 - 1

    torch.testing.assert_close(draw(), expected.clamp(-1, 1), rtol=0, atol=1e-5)
    pipeline.load_lora_weights(tmp_path / ADAPTERS)
    torch.testing.assert_close(draw(), adapted.clamp(-1, 1), rtol=0, atol=1e-5)
    assert float((adapted - expected).abs().max()) > 1e-2
