"""Pictures a second that data_prep encodes into shards, against the bare autoencoder and text encoders.

    make bench-encoding

Files of JPEG with captions go the whole way: read, decoded, fitted, encoded, written, kept in a store for
the case of an interruption. The bare encoders get the same batches from memory. Both in turn, in one
process; the figure is the ratio of the medians. The autoencoder has FLUX.1's sizes and untrained weights,
which cost the same; text encoders are small.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.local_store import LocalStore
from flowmap.data.shards import Shards
from flowmap.data_prep import captioned
from flowmap.settings import DataPrep
from flowmap.settings.data import Captioned
from flowmap.steps.context import Context
from flowmap.text_to_image.encoding import Encoder
from flowmap.text_to_image.text import fresh_text

_AIM = 0.9
_WIDTHS, _CHANNELS = (128, 256, 512, 512), 16  # FLUX.1's


def write_model(folder: Path, captions: list[str], widths: tuple[int, ...]) -> None:
    """What encodes, in the folders of a pipeline."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        latent_channels=_CHANNELS,
        layers_per_block=2,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    vae.save_pretrained(folder / "vae")
    fresh_text(captions, num_tokens=32, width=64).save(folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))


def write_pictures(folder: Path, num: int) -> list[str]:
    """Photographs' sizes and grain; returns their captions."""
    folder.mkdir()
    generator, rows = np.random.default_rng(0), []
    for index in range(num):
        coarse = generator.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((1024, 768), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index:05d}.jpg", quality=90)
        rows.append({"file_name": f"{index:05d}.jpg", "text": f"picture {index} of {num}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [row["text"] for row in rows]


def whole(section: DataPrep, folder: Path) -> float:
    """Seconds of data_prep's own way; what it leaves is read back."""
    out, scratch, store = folder / "out", folder / "scratch", LocalStore(folder / "store")
    for each in (out, scratch):
        each.mkdir(parents=True)
    kept = Checkpoints(store, "checkpoints/data_prep/benchmark")
    began = time.perf_counter()
    captioned.encode(
        Context(section, {}, {}, {}, "code", out, kept, store, scratch, lambda trainings: None), section
    )
    seconds = time.perf_counter() - began
    Shards(out).draw(8, torch.Generator())
    return seconds


def bare(section: Captioned, captions: list[str], side: int, scratch: Path) -> float:
    """Seconds of the encoders alone."""
    began = time.perf_counter()
    encoder = Encoder.load(section, "encoder", scratch, [(side, side)])
    pictures = np.random.default_rng(0).random((section.batch, 3, side, side), dtype=np.float32)
    for first in range(0, len(captions), section.batch):
        told = captions[first : first + section.batch]
        encoder.latents(pictures[: len(told)])
        encoder.condition(told)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--widths", type=int, nargs="+", default=list(_WIDTHS), help="of the autoencoder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        captions = write_pictures(folder / "pictures", given.pictures)
        write_model(folder / "model", captions, tuple(given.widths))
        settings = {
            "source": str(folder / "pictures"),
            "encoder": {"source": str(folder / "model")},
            "shard": 16,
            "batch": 4,
        }
        section = DataPrep.model_validate(
            {"prompts": "none.txt", "resize": [given.side, given.side], "captioned": settings}
        )
        assert section.captioned is not None
        taken: dict[str, list[float]] = {"data_prep": [], "bare encoders": []}
        for number in range(given.rounds):
            taken["bare encoders"].append(
                bare(section.captioned, captions, given.side, folder / f"b{number}")
            )
            taken["data_prep"].append(whole(section, folder / f"w{number}"))
    for title, seconds in taken.items():
        print(f"{title:<14} {given.pictures / statistics.median(seconds):8.2f} pictures a second")
    ratio = statistics.median(taken["bare encoders"]) / statistics.median(taken["data_prep"])
    print(f"data_prep has {ratio:.2f} of the bare encoders' speed (aim: {_AIM})")


if __name__ == "__main__":
    main()
