"""Prompts as a transformer takes them: a token sequence, and one vector for the whole.

text = fresh_text(prompts, num_tokens=8, width=64)   # small encoders that know the words of these prompts
text.save(folder); text = FluxText.load(folder, num_tokens=8)
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from flowmap.errors import ConfigError
from flowmap.maps import Condition
from flowmap.text_to_image.network import POOLED, TOKENS

_PADDING, _END, _UNKNOWN, _BEGIN = "<pad>", "</s>", "<unk>", "<s>"
_LAYERS, _HEADS = 2, 4
_MOST_KEPT = 4 * 2**30


class TextEncoders(nn.Module):
    """Text encoders with the tokenizers that belong to them, T5's last.

    Args:
        encoders, tokenizers: in the order of `classes`.
        num_tokens: of T5's sequence; longer texts are cut, shorter ones padded.
    """

    classes: ClassVar[tuple[Any, ...]]

    def __init__(self, encoders: Sequence[Any], tokenizers: Sequence[Any], num_tokens: int) -> None:
        super().__init__()
        self.encoders: Any = nn.ModuleList(encoders)
        self.tokenizers, self.num_tokens = tuple(tokenizers), num_tokens

    @abstractmethod
    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(texts, tokens, width) and (texts, pooled width)."""

    def words(self, texts: Sequence[str]) -> Tensor:
        """Indices of the T5 tokenizer's words, (texts, tokens)."""
        return self._ids(len(self.encoders) - 1, texts, self.num_tokens)

    @classmethod
    def folders(cls) -> tuple[str, ...]:
        """Those of a diffusers pipeline, encoders first."""
        numbers = ("", *(f"_{number}" for number in range(2, len(cls.classes) + 1)))
        return tuple(f"{kind}{number}" for kind in ("text_encoder", "tokenizer") for number in numbers)

    def parts(self) -> dict[str, Any]:
        """Encoders and tokenizers by their folders."""
        return dict(zip(self.folders(), (*self.encoders, *self.tokenizers), strict=True))

    def save(self, folder: Path) -> None:
        """As the folders of a diffusers pipeline."""
        for name, part in self.parts().items():
            part.save_pretrained(folder / name)

    @classmethod
    def load(cls, folder: Path, num_tokens: int) -> Self:
        """Raises ConfigError where one of the folders is missing."""
        folders = cls.folders()
        if missing := [name for name in folders if not (folder / name).is_dir()]:
            raise ConfigError(f"the model has no {missing[0]}: its text encoders can't be read")
        count = len(cls.classes)
        encoders = [
            kind.from_pretrained(folder / name, use_safetensors=True)
            for kind, name in zip(cls.classes, folders[:count], strict=True)
        ]
        tokenizers = [AutoTokenizer.from_pretrained(folder / name) for name in folders[count:]]
        return cls(encoders, tokenizers, num_tokens).eval()

    def _ids(self, index: int, texts: Sequence[str], length: int) -> Tensor:
        found = self.tokenizers[index](
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        ids: Tensor = found.input_ids
        return ids.to(next(self.parameters()).device)


class FluxText(TextEncoders):
    """T5's sequence, and CLIP's pooled vector."""

    classes = (CLIPTextModel, T5EncoderModel)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        clip, t5 = self.encoders
        longest = clip_tokens(self.tokenizers[0], clip.config.max_position_embeddings)
        sequence = t5(input_ids=self._ids(1, texts, self.num_tokens))
        pooled = clip(input_ids=self._ids(0, texts, longest))
        return sequence.last_hidden_state, pooled.pooler_output


class Sd3Text(TextEncoders):
    """The last layer but one of two CLIP encoders side by side, and T5's sequence behind them; both CLIPs'
    projected vectors.

    Source: Stable Diffusion 3 (arXiv 2403.03206), section 4.
    """

    classes = (CLIPTextModelWithProjection, CLIPTextModelWithProjection, T5EncoderModel)

    @property
    def clip_tokens(self) -> int:
        """That CLIP has of a text."""
        return clip_tokens(self.tokenizers[0], self.encoders[0].config.max_position_embeddings)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        *clips, t5 = self.encoders
        read = [
            clip(input_ids=self._ids(index, texts, self.clip_tokens), output_hidden_states=True)
            for index, clip in enumerate(clips)
        ]
        sequence = t5(input_ids=self._ids(len(clips), texts, self.num_tokens)).last_hidden_state
        told = torch.cat([each.hidden_states[-2] for each in read], -1)
        told = F.pad(told, (0, sequence.shape[-1] - told.shape[-1]))
        return torch.cat([told, sequence], 1), torch.cat([each.text_embeds for each in read], -1)


def clip_tokens(tokenizer: Any, positions: int) -> int:
    """That a CLIP encoder has of a text which knows so many positions."""
    return int(min(tokenizer.model_max_length, positions))


class TextConditioner:
    """Encodes texts and keeps what came of those that were asked for last: encoders are frozen.

    Both lie in the machine's own memory; the encoders are on the device only while they encode, for those of
    FLUX.1 take ten gigabytes there. Each text is encoded by itself, so that what it becomes does not depend
    on what else was asked for, or is kept: an interrupted run goes on with the same bytes.

    Args:
        device: where texts are encoded.
        most_kept: bytes; a prompt takes four million in FLUX.1, so that a thousand of them are kept.
    """

    def __init__(self, encoders: TextEncoders, device: torch.device, most_kept: int = _MOST_KEPT) -> None:
        self.encoders, self.device = encoders.eval().requires_grad_(False), device
        self.most_kept = most_kept
        self._kept: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        self._bytes = self._each = 0  # of all that is kept, and of one text

    def encode(self, prompts: Sequence[str]) -> Condition:
        different = dict.fromkeys(prompts)
        told = {prompt: self._kept[prompt] for prompt in different if prompt in self._kept}
        new = [prompt for prompt in different if prompt not in told]
        told |= dict(zip(new, self._encoded(new), strict=True))
        for prompt, leaves in told.items():
            self._keep(prompt, leaves)
        tokens, pooled = zip(*(told[prompt] for prompt in prompts), strict=True)
        return {TOKENS: torch.stack(tokens), POOLED: torch.stack(pooled)}

    def prepare(self, prompts: Sequence[str]) -> bool:
        """Encode now what is to be asked for, where all of it can be kept; returns whether it is."""
        different = dict.fromkeys(prompts)
        if self._each * len(different) > self.most_kept:
            return False
        for prompt in different:  # so that what is new does not take their places
            if prompt in self._kept:
                self._kept.move_to_end(prompt)
        new = [prompt for prompt in different if prompt not in self._kept]
        for prompt, leaves in zip(new, self._encoded(new), strict=True):
            self._each = _size(leaves)
            if self._each * len(different) > self.most_kept:
                return False
            self._keep(prompt, leaves)
        return True

    @torch.no_grad()
    def _encoded(self, prompts: Sequence[str]) -> Iterator[tuple[Tensor, Tensor]]:
        if not prompts:
            return
        self.encoders.to(self.device)
        try:
            for prompt in prompts:
                tokens, pooled = self.encoders([prompt])
                yield tokens[0].cpu(), pooled[0].cpu()
        finally:
            self.encoders.to("cpu")

    def _keep(self, prompt: str, leaves: tuple[Tensor, Tensor]) -> None:
        """As the one that was asked for last; what nobody asked for longest goes."""
        if prompt not in self._kept:
            self._bytes += _size(leaves)
        self._kept[prompt] = leaves
        self._kept.move_to_end(prompt)
        while self._bytes > self.most_kept and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= _size(old)


def _size(leaves: Iterable[Tensor]) -> int:
    return sum(leaf.nbytes for leaf in leaves)


def fresh_text(prompts: Sequence[str], num_tokens: int, width: int) -> FluxText:
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
    return FluxText([CLIPTextModel(clip), T5EncoderModel(t5)], [tokenizer, tokenizer], num_tokens)


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
