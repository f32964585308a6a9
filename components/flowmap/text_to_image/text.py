"""Prompts as FLUX's transformer takes them: a sequence from a T5 encoder, and one vector from CLIP's.

text = fresh_text(prompts, num_tokens=8, width=64)     # small encoders that know the words of these prompts
text.save(folder); text = TextEncoders.load(folder, num_tokens=8)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from flowmap.errors import ConfigError
from flowmap.maps import Condition
from flowmap.text_to_image.network import POOLED, TOKENS

# Of a diffusers pipeline, CLIP's first.
FOLDERS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
_PADDING, _END, _UNKNOWN, _BEGIN = "<pad>", "</s>", "<unk>", "<s>"
_LAYERS, _HEADS = 2, 4
_AT_ONCE = 32  # texts on a GPU


class TextEncoders(nn.Module):
    """CLIP's pooled vector and T5's sequence of texts, with the tokenizers that belong to them.

    Args:
        num_tokens: of a sequence; longer texts are cut, shorter ones padded.
    """

    def __init__(self, clip: Any, t5: Any, clip_tokenizer: Any, t5_tokenizer: Any, num_tokens: int) -> None:
        super().__init__()
        self.clip, self.t5, self.num_tokens = clip, t5, num_tokens
        self.clip_tokenizer, self.t5_tokenizer = clip_tokenizer, t5_tokenizer

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(texts, tokens, T5's width) and (texts, CLIP's width)."""
        device = next(self.parameters()).device
        longest = min(self.num_tokens, self.clip.config.max_position_embeddings)
        sequence = self.t5(input_ids=self._ids(self.t5_tokenizer, texts, self.num_tokens).to(device))
        pooled = self.clip(input_ids=self._ids(self.clip_tokenizer, texts, longest).to(device))
        return sequence.last_hidden_state, pooled.pooler_output

    def words(self, texts: Sequence[str]) -> Tensor:
        """Indices of the T5 tokenizer's words, (texts, tokens)."""
        return self._ids(self.t5_tokenizer, texts, self.num_tokens)

    def save(self, folder: Path) -> None:
        """As the folders of a diffusers pipeline."""
        parts = (self.clip, self.t5, self.clip_tokenizer, self.t5_tokenizer)
        for name, part in zip(FOLDERS, parts, strict=True):
            part.save_pretrained(folder / name)

    @classmethod
    def load(cls, folder: Path, num_tokens: int) -> TextEncoders:
        """Raises ConfigError where one of the folders is missing."""
        if missing := [name for name in FOLDERS if not (folder / name).is_dir()]:
            raise ConfigError(f"the model has no {missing[0]}: its text encoders can't be read")
        from transformers import AutoTokenizer

        clip, t5, clip_tokenizer, t5_tokenizer = (folder / name for name in FOLDERS)
        return cls(
            CLIPTextModel.from_pretrained(clip, use_safetensors=True),
            T5EncoderModel.from_pretrained(t5, use_safetensors=True),
            AutoTokenizer.from_pretrained(clip_tokenizer),
            AutoTokenizer.from_pretrained(t5_tokenizer),
            num_tokens,
        ).eval()

    def _ids(self, tokenizer: Any, texts: Sequence[str], length: int) -> Tensor:
        found = tokenizer(
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        ids: Tensor = found.input_ids
        return ids


class TextConditioner:
    """Encodes each text once and keeps what comes of it: encoders are frozen.

    Both lie in the machine's own memory; the encoders are on the device only while they encode, for those of
    FLUX.1 take ten gigabytes there.

    Args:
        device: where texts are encoded.
    """

    def __init__(self, encoders: TextEncoders, device: torch.device) -> None:
        self.encoders, self.device = encoders.eval().requires_grad_(False), device
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        new = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._known))
        if new:
            self.encoders.to(self.device)
            size = _AT_ONCE if self.device.type == "cuda" else len(new)
            for first in range(0, len(new), size):
                part = new[first : first + size]
                told = (each.cpu() for each in self.encoders(part))
                self._known |= dict(zip(part, zip(*told, strict=True), strict=True))
            self.encoders.to("cpu")
        tokens, pooled = zip(*(self._known[prompt] for prompt in prompts), strict=True)
        return {TOKENS: torch.stack(tokens), POOLED: torch.stack(pooled)}


def fresh_text(prompts: Sequence[str], num_tokens: int, width: int) -> TextEncoders:
    """Small encoders for the words of those prompts, weights drawn from torch's global generator."""
    tokenizer = word_tokenizer(prompts, num_tokens)
    num_words = len(tokenizer)
    clip = CLIPTextConfig(
        vocab_size=num_words,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        max_position_embeddings=num_tokens,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=3,
    )
    t5 = T5Config(
        vocab_size=num_words,
        d_model=width,
        d_kv=width // _HEADS,
        d_ff=2 * width,
        num_layers=_LAYERS,
        num_heads=_HEADS,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return TextEncoders(CLIPTextModel(clip), T5EncoderModel(t5), tokenizer, tokenizer, num_tokens)


def word_tokenizer(prompts: Sequence[str], num_tokens: int) -> PreTrainedTokenizerFast:
    """Of the words of those prompts, each a token; texts end with one more."""
    words = sorted({word for prompt in prompts for word in prompt.split()})
    vocabulary = {name: index for index, name in enumerate((_PADDING, _END, _UNKNOWN, _BEGIN, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, _UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, vocabulary[_END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PADDING,
        eos_token=_END,
        unk_token=_UNKNOWN,
        bos_token=_BEGIN,
        model_max_length=num_tokens,
    )
