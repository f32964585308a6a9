"""An untrained text-to-image model of a few thousand weights, with everything that lies beside them."""

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from flowmap.models import FluxFacts, Sd3Facts, TextToImageFacts
from flowmap.models.model import Model
from flowmap.models.storing import load_model, save_weights, write_model_facts
from flowmap.text_to_image.building import build
from flowmap.text_to_image.latents import FOLDER, fresh_autoencoder
from flowmap.text_to_image.parts import SCHEDULER
from flowmap.text_to_image.publishing import write_pipeline
from flowmap.text_to_image.text import FluxText, Sd3Text, TextEncoders, fresh_text, word_tokenizer
from tests.text_to_image.facts import FACTS, GRID, PROMPTS

CLIP_TOKENS = 5


def write_parts(folder: Path, facts: TextToImageFacts = FACTS) -> None:
    """Autoencoder, encoders and tokenizers, weights as they were drawn."""
    torch.manual_seed(1)
    vae = fresh_autoencoder(3, 4, (8, 8))
    vae.register_to_config(shift_factor=0.1, scaling_factor=2.0)
    vae.save_pretrained(folder / FOLDER)
    text: TextEncoders = sd3_text(facts) if isinstance(facts, Sd3Facts) else flux_text(facts)
    text.save(folder)


def flux_text(facts: TextToImageFacts) -> FluxText:
    """Whose CLIP reads less of a text than T5 does, as in every FLUX."""
    clip, _ = fresh_text(PROMPTS, CLIP_TOKENS, facts.text_width).encoders
    long = fresh_text(PROMPTS, facts.num_tokens, facts.text_width)
    short = word_tokenizer(PROMPTS, CLIP_TOKENS)
    return FluxText([clip, long.encoders[1]], [short, long.tokenizers[1]], facts.num_tokens)


def sd3_text(facts: Sd3Facts) -> Sd3Text:
    """Two CLIP encoders of different widths and a T5."""
    short, long = (word_tokenizer(PROMPTS, number) for number in (facts.clip_tokens, facts.num_tokens))

    def clip(width: int, projected: int) -> CLIPTextModelWithProjection:
        config = CLIPTextConfig(
            vocab_size=len(short),
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=projected,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=8,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=3,
        )
        return CLIPTextModelWithProjection(config)

    width = facts.text_width
    t5 = T5Config(vocab_size=len(long), d_model=width, d_kv=8, d_ff=width, num_layers=1, num_heads=2)
    encoders = [clip(16, 8), clip(24, facts.pooled_width - 8), T5EncoderModel(t5)]
    return Sd3Text(encoders, [short, short, long], facts.num_tokens)


def write_tiny(folder: Path, facts: TextToImageFacts = FACTS) -> Path:
    """A whole artifact, whose weights do something at every layer."""
    folder.mkdir(parents=True, exist_ok=True)
    write_parts(folder, facts)
    write_model_facts(folder, facts)
    torch.manual_seed(2)
    network = build(facts, parts=folder).network
    for parameter in network.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.1)
    save_weights(network.state_dict(), folder / "ema.safetensors")
    return folder


def tiny(folder: Path, facts: TextToImageFacts = FACTS) -> Model:
    return load_model(write_tiny(folder, facts), "ema")


def write_stock(folder: Path, facts: TextToImageFacts = FACTS, fastest: float | None = None) -> Path:
    """A pipeline as others write one: diffusers' own transformer, which knows one time.

    Args:
        fastest: the embedding of time looks at sines of 1000 t up to so many radians, as a trained one
            does: those beyond are noise to it.
    """
    write_parts(folder / "parts", facts)
    torch.manual_seed(4)
    facts = one_time(facts)
    model = build(facts, parts=folder / "parts")
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    if fastest is not None:
        layers: Any = model.network.transformer.time_text_embed.timestep_embedder  # type: ignore[union-attr]
        radians = 1000 * 10000 ** (-torch.arange(128) / 128)
        with torch.no_grad():
            layers.linear_1.weight *= (radians < fastest).repeat(2)
    write_pipeline(model, facts, GRID, folder / "pipeline")
    (folder / "pipeline" / SCHEDULER / "flowmap.json").unlink()
    return folder / "pipeline"


def one_time(facts: TextToImageFacts) -> TextToImageFacts:
    """The same architecture as diffusers has it."""
    return facts.model_copy(
        update={"two_times": False, **({"places": False} if isinstance(facts, FluxFacts) else {})}
    )
