"""ImageReward: BLIP that reads a prompt while it looks at a picture, and layers on what it has read."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BlipConfig, BlipForImageTextRetrieval, PreTrainedTokenizerFast

from flowmap.errors import ConfigError
from flowmap.rewards.building import Materials, build_rewards
from flowmap.rewards.imagereward import HEAD, ImageReward
from flowmap.rewards.imagereward_weights import convert
from flowmap.rewards.protocol import Reward, Samples
from flowmap.settings import GrpoFinetuning

PROMPTS = ["a red cat", "a dog"]
WIDTH, TEXT_WIDTH = 64, 64
SIZES = (TEXT_WIDTH, 8, 1)


def tokenizer() -> PreTrainedTokenizerFast:
    """Of BERT's kind: texts begin with one token, whose vector speaks for all, and end with another."""
    words = {
        word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "cat", "dog"])
    }
    plain = Tokenizer(models.WordLevel(words, "[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]")


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageReward with a few thousand weights, as transformers saves its class."""
    folder = tmp_path_factory.mktemp("blip")
    small = {"num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 48}
    vision = {**small, "hidden_size": WIDTH, "image_size": 24, "patch_size": 8, "layer_norm_eps": 1e-6}
    text = {
        **small,
        "hidden_size": TEXT_WIDTH,
        "encoder_hidden_size": WIDTH,
        "vocab_size": 8,
        "max_position_embeddings": 40,
        "layer_norm_eps": 1e-12,
        "bos_token_id": 2,
        "sep_token_id": 3,
    }
    torch.manual_seed(0)
    config = BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=16)
    model = BlipForImageTextRetrieval(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    save_file(head(), folder / HEAD)
    return folder


def head(*sizes: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    layers = enumerate(itertools.pairwise(sizes or SIZES))
    found = {}
    for n, (inputs, outputs) in layers:
        found[f"layers.{2 * n}.weight"] = torch.randn(outputs, inputs) / inputs**0.5
        found[f"layers.{2 * n}.bias"] = torch.randn(outputs)
    return found


def samples() -> Samples:
    data = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Samples(data, PROMPTS)


def built(source: Path) -> Reward:
    section = GrpoFinetuning.model_validate({"rewards": [{"kind": "imagereward", "source": str(source)}]})
    return build_rewards(section.rewards, Materials(source, torch.device("cpu")))[0].reward


def test_the_mark_is_what_the_model_s_own_class_reads_through_the_layers(blip: Path) -> None:
    found = built(blip).score(samples())
    assert found.shape == (2, 3)
    model, weights = BlipForImageTextRetrieval.from_pretrained(blip).eval(), load_file(blip / HEAD)
    mean, std = (
        torch.tensor(each).view(3, 1, 1)
        for each in ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    )
    for group, prompt in enumerate(PROMPTS):
        levels = (samples().data[group] + 1) / 2
        fitted = torch.nn.functional.interpolate(levels, 24, mode="bicubic", antialias=True).clamp(0, 1)
        told = tokenizer()([prompt] * 3, return_tensors="pt")
        with torch.no_grad():
            read = model(
                input_ids=told.input_ids,
                attention_mask=told.attention_mask,
                pixel_values=(fitted - mean) / std,
            ).question_embeds[:, 0]
        for n in (0, 2):
            read = read @ weights[f"layers.{n}.weight"].T + weights[f"layers.{n}.bias"]
        expected = (read[:, 0] - 0.16717362830052426) / 1.0333394966054072
        torch.testing.assert_close(found[group], expected, rtol=1e-4, atol=1e-5)
    assert float(found.std()) > 0.01


def test_a_prompt_is_read_up_to_35_tokens_and_none_of_its_neighbours(blip: Path) -> None:
    reward, data = built(blip), samples().data
    alone = reward.score(Samples(data[1:], PROMPTS[1:]))
    torch.testing.assert_close(reward.score(samples())[1:], alone, rtol=1e-4, atol=1e-5)
    long, longer = " ".join(["red"] * 60), " ".join(["red"] * 80 + ["dog"])
    torch.testing.assert_close(*(reward.score(Samples(data[:1], [each])) for each in (long, longer)))


def test_it_can_be_differentiated(blip: Path) -> None:
    drawn = samples()
    drawn.data.requires_grad_(True)
    built(blip).score(drawn).sum().backward()
    assert drawn.data.grad is not None
    assert drawn.data.grad.abs().sum() > 0


def published(blip: Path) -> dict[str, torch.Tensor]:
    """The weights under the names that their authors give them."""
    names = {
        "vision_model.embeddings.class_embedding": "visual_encoder.cls_token",
        "vision_model.embeddings.position_embedding": "visual_encoder.pos_embed",
        "vision_model.embeddings.patch_embedding": "visual_encoder.patch_embed.proj",
        "vision_model.encoder.layers": "visual_encoder.blocks",
        "vision_model.post_layernorm": "visual_encoder.norm",
        "self_attn.projection": "attn.proj",
        "self_attn": "attn",
        "layer_norm": "norm",
    }
    found = {}
    for name, value in load_file(blip / "model.safetensors").items():
        theirs = name
        for ours, other in names.items():
            theirs = theirs.replace(ours, other)
        if not name.startswith("itm_head"):
            found[f"blip.{theirs}"] = value
    found["blip.text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    return found | {f"mlp.{name}": value for name, value in head().items()}


def test_what_its_authors_give_becomes_a_folder_that_marks_alike(blip: Path, tmp_path: Path) -> None:
    weights = published(blip)
    assert "blip.visual_encoder.blocks.1.attn.qkv.weight" in weights
    torch.save(weights, tmp_path / "ImageReward.pt")
    words = tmp_path / "words"
    tokenizer().save_pretrained(words)
    module = "flowmap.rewards.imagereward_weights"
    told = [sys.executable, "-m", module, *map(str, (tmp_path / "ImageReward.pt", words, tmp_path / "made"))]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(built(tmp_path / "made").score(samples()), built(blip).score(samples()))


def test_what_is_not_imagereward_is_refused(blip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it is no BLIP model, but None\. What its authors give"):
        built(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip"}))
    with pytest.raises(ConfigError, match=r"it has no head.safetensors"):
        built(tmp_path)
    save_file(head(7, 1), tmp_path / HEAD)
    with pytest.raises(ConfigError, match=r"reward imagereward: .*safetensors"):
        built(tmp_path)
    for file in blip.iterdir():
        if file.name != HEAD:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match=r"leads from 7 to 1, and from 64, what its text encoder gives"):
        built(tmp_path)
    with pytest.raises(ConfigError, match="it looks at pictures"):
        built(blip).score(Samples(torch.randn(1, 2, 2), ["a"]))
    weights = published(blip)
    del weights["blip.visual_encoder.norm.bias"]
    with pytest.raises(ConfigError, match=r"1 differ, such as vision_model.post_layernorm.bias"):
        convert(weights, tokenizer(), tmp_path / "made")
    with pytest.raises(ConfigError, match=r"they are called blip\.\* and mlp\.layers\.\*"):
        convert({"mlp.layers.0.weight": torch.zeros(1)}, tokenizer(), tmp_path / "made")
    assert isinstance(built(blip), ImageReward)
