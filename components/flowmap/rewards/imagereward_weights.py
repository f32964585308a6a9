"""ImageReward as its authors give it, one pickled file, made into what the library transformers loads.

python -m flowmap.rewards.imagereward_weights ImageReward.pt TOKENIZER FOLDER
"""

from __future__ import annotations

import argparse
import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, BlipConfig, BlipForImageTextRetrieval, PreTrainedTokenizerBase

from flowmap.errors import ConfigError
from flowmap.rewards.imagereward import HEAD

_HEAD_WIDTH = 64  # of one head of attention, in both of BLIP's halves
# From its authors' names to those of transformers, tried in this order.
_NAMES = (
    (r"visual_encoder\.cls_token", "vision_model.embeddings.class_embedding"),
    (r"visual_encoder\.pos_embed", "vision_model.embeddings.position_embedding"),
    (r"visual_encoder\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"visual_encoder\.norm\.", "vision_model.post_layernorm."),
    (r"visual_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_model.encoder.layers.\1.layer_norm\2."),
    (
        r"visual_encoder\.blocks\.(\d+)\.attn\.proj\.",
        r"vision_model.encoder.layers.\1.self_attn.projection.",
    ),
    (r"visual_encoder\.blocks\.(\d+)\.attn\.", r"vision_model.encoder.layers.\1.self_attn."),
    (r"visual_encoder\.blocks\.(\d+)\.", r"vision_model.encoder.layers.\1."),
)
_UNUSED = ("itm_head.", "text_encoder.embeddings.position_ids")


def convert(weights: Mapping[str, Tensor], tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the folder that the reward `imagereward` takes.

    Args:
        weights: by its authors' names; sizes follow from them.
        tokenizer: of BERT, uncased: what BLIP adds to it, no prompt is read with.

    Raises ConfigError where the weights are not those of ImageReward.
    """
    head = {
        name.removeprefix("mlp."): value.float().contiguous()
        for name, value in weights.items()
        if name.startswith("mlp.layers.")
    }
    blip = {
        _renamed(name.removeprefix("blip.")): value.float()
        for name, value in weights.items()
        if name.startswith("blip.")
    }
    if not head or "vision_model.embeddings.class_embedding" not in blip:
        raise ConfigError("no weights of ImageReward: they are called blip.* and mlp.layers.*")
    model = BlipForImageTextRetrieval(_config(blip, tokenizer))
    lacks, knows_not = model.load_state_dict(blip, strict=False)
    odd = [name for name in (*lacks, *knows_not) if not name.startswith(_UNUSED)]
    if odd:
        raise ConfigError(f"no weights of ImageReward: {len(odd)} differ, such as {odd[0]}")
    for parameter in model.itm_head.parameters():  # which nothing reads
        torch.nn.init.zeros_(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file(head, folder / HEAD)


def _renamed(name: str) -> str:
    for pattern, ours in _NAMES:
        name, num = re.subn(f"^{pattern}", ours, name)
        if num:
            break
    return name


def _config(blip: Mapping[str, Tensor], tokenizer: PreTrainedTokenizerBase) -> BlipConfig:
    patches = blip["vision_model.embeddings.patch_embedding.weight"]
    words = blip["text_encoder.embeddings.word_embeddings.weight"]
    width, patch, text_width = patches.shape[0], patches.shape[-1], words.shape[1]
    places = blip["vision_model.embeddings.position_embedding"].shape[1] - 1
    vision = {
        "hidden_size": width,
        "intermediate_size": blip["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": _layers(blip, "vision_model.encoder.layers"),
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "image_size": math.isqrt(places) * patch,
        "patch_size": patch,
        "layer_norm_eps": 1e-6,
    }
    text = {
        "vocab_size": words.shape[0],
        "hidden_size": text_width,
        "encoder_hidden_size": width,
        "intermediate_size": blip["text_encoder.encoder.layer.0.intermediate.dense.weight"].shape[0],
        "num_hidden_layers": _layers(blip, "text_encoder.encoder.layer"),
        "num_attention_heads": max(1, text_width // _HEAD_WIDTH),
        "max_position_embeddings": blip["text_encoder.embeddings.position_embeddings.weight"].shape[0],
        "pad_token_id": tokenizer.pad_token_id,
        "layer_norm_eps": 1e-12,
    }
    return BlipConfig(
        vision_config=vision, text_config=text, image_text_hidden_size=blip["vision_proj.weight"].shape[0]
    )


def _layers(blip: Mapping[str, Tensor], where: str) -> int:
    found = (re.match(rf"{re.escape(where)}\.(\d+)\.", name) for name in blip)
    return 1 + max(int(match[1]) for match in found if match)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="ImageReward.pt")
    parser.add_argument("tokenizer", help="a folder with BERT's, uncased, or its name on the hub")
    parser.add_argument("folder", type=Path, help="where to write")
    given = parser.parse_args()
    try:
        weights = torch.load(given.file, map_location="cpu", weights_only=True)
        convert(weights, AutoTokenizer.from_pretrained(given.tokenizer), given.folder)
    except (OSError, pickle.UnpicklingError, ConfigError) as error:
        parser.exit(1, f"{given.file}: {str(error).splitlines()[0]}\n")


if __name__ == "__main__":
    main()
