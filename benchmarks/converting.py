"""What converting a model of many steps gives: a transformer of diffusers' own class is trained by flow
matching on tinted digits, as others would have done it, and becomes a map of two times by all its weights
and by adapters.

    make run CONFIG=examples/tiny_flux.yaml       # whose data and autoencoder are taken
    make bench-converting                         # about 20 minutes on two cores
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from flowmap.artifacts.transfer import fetch_artifact
from flowmap.audit.graph import trace
from flowmap.base_training.batches import batches_of
from flowmap.maps import flow_matching_loss
from flowmap.models import Sd3Facts, TextToImageFacts
from flowmap.models.storing import read_model_facts
from flowmap.progress import Progress
from flowmap.registry import Registry
from flowmap.text_to_image.building import build
from flowmap.text_to_image.latents import FOLDER
from flowmap.text_to_image.publishing import write_pipeline
from flowmap.text_to_image.text import Sd3Text, word_tokenizer
from flowmap.training.ema import Ema
from flowmap.training.schedule import schedule
from flowmap_pipelines.local_run import store_of

_EXAMPLE = Path("examples/tiny_flux.yaml")
_BATCH, _LEARNING_RATE, _TIMES = 64, 2e-3, (0.6, 1.2)
_WIDTH, _TOKENS = 64, 6
_GRID = (1.0, 0.75, 0.5, 0.25, 0.0)
_MANY = 40
_WAYS: dict[str, dict[str, Any]] = {
    "all weights": {"learning_rate": 1e-3},
    "adapters of rank 32": {"learning_rate": 2e-3, "lora": {"rank": 32, "alpha": 32}},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path(".flowmap"), help="where tiny_flux was run")
    parser.add_argument("--updates", type=int, default=2500, help="of the model that is converted")
    options = parser.parse_args()
    work = options.root / "converting"
    shutil.rmtree(work, ignore_errors=True)
    stock = train_stock(options.root, work, options.updates)
    print("| | judge accuracy, 4 | Frechet distance, 4 | recall, 4 | at 1 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for way, settings in _WAYS.items():
        models = convert(options.root, work, stock, way, settings)
        rows = {f"many steps, {_MANY} in the place of 4": (models["baseline"], str(_MANY))}
        rows |= {"many steps": (models["baseline"], "4"), f"map, by {way}": (models["base"], "4")}
        for name, (found, count) in rows.items():
            at, once = found[count], found["1"]
            print(
                f"| {name} | {at['judge_accuracy']:.3f} | {at['fd_judge']:.1f} | {at['recall']:.3f} | "
                f"{once['judge_accuracy']:.3f}, {once['fd_judge']:.1f} |",
                flush=True,
            )


def train_stock(root: Path, work: Path, num_updates: int) -> Path:
    """A pipeline of Stable Diffusion 3's architecture, which needs no places of its own to be as small as
    this; text encoders as they were drawn, frozen."""
    store = store_of(root)
    base = Registry(store, "tiny-flux").resolve("1")
    data = next(node for node in trace(store, base).nodes.values() if node.kind == "data_prep")
    for name, digest in (("base", base.candidate), ("data", data.digest)):
        fetch_artifact(store, digest, work / name)
    given = read_model_facts(work / "base")
    assert isinstance(given, TextToImageFacts)
    torch.manual_seed(0)
    shutil.copytree(work / "base" / FOLDER, work / "parts" / FOLDER)
    _texts(given.prompts).save(work / "parts")
    facts = Sd3Facts(
        shape=given.shape,
        prompts=given.prompts,
        latent=given.latent,
        heads=3,
        head_width=32,
        blocks=4,
        normed=True,
        places_side=max(given.latent[1:]) // given.patch,
        text_width=_WIDTH,
        pooled_width=_WIDTH,
        num_tokens=_TOKENS,
        clip_tokens=_TOKENS,
        two_times=False,
    )
    model = build(facts, parts=work / "parts")
    network, batches = model.network, batches_of(model, work / "data")
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, betas=(0.9, 0.99))
    average, generator = Ema(network, 0.99), torch.Generator().manual_seed(1)
    with Progress("flow matching", num_updates) as progress:
        for update in range(num_updates):
            for group in optimizer.param_groups:
                group["lr"] = _LEARNING_RATE * schedule(update, num_updates)
            x, condition = batches.draw(_BATCH, generator)
            loss, told = flow_matching_loss(
                lambda x, t, condition: network(x, t, t, condition),
                x,
                condition,
                generator=generator,
                times=_TIMES,
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            average.update(network)
            progress.update(error=float(told["error"]))
    with average.applied(network):
        write_pipeline(model, facts, _GRID, work / "stock")
    return work / "stock"


def _texts(prompts: tuple[str, ...]) -> Sd3Text:
    tokenizer = word_tokenizer(prompts, _TOKENS)
    size, ends = len(tokenizer), {"pad_token_id": 0, "eos_token_id": 1}

    def clip() -> CLIPTextModelWithProjection:
        half = _WIDTH // 2
        config = CLIPTextConfig(
            vocab_size=size,
            hidden_size=half,
            intermediate_size=_WIDTH,
            projection_dim=half,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=_TOKENS,
            bos_token_id=3,
            **ends,
        )
        return CLIPTextModelWithProjection(config)

    t5 = T5Config(
        vocab_size=size, d_model=_WIDTH, d_kv=16, d_ff=2 * _WIDTH, num_layers=1, num_heads=4, **ends
    )
    return Sd3Text([clip(), clip(), T5EncoderModel(t5)], [tokenizer] * 3, _TOKENS)


def convert(root: Path, work: Path, stock: Path, way: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Figures of all models by their evaluations, after a run in which GRPO changes nothing."""
    config = yaml.safe_load(_EXAMPLE.read_text())
    config["name"] = f"converted-{way.replace(' ', '-')}"
    config["base_training"] = {
        "checkpoint": {"source": str(stock.resolve()), "convert": True},
        "updates": 1000,
        "batch_size": _BATCH,
        "processes": 2,
        "times": list(_TIMES),
        "start_times": 0.0,
        "ema": 0.99,
        **settings,
    }
    config["grpo_finetuning"] = {
        "grid": list(_GRID),
        "rewards": [{"kind": "classifier"}],
        "rollouts": 1,
        "snapshots": 1,
        "groups": 2,
        "group_size": 4,
        "learning_rate": 1e-9,
    }
    config["evaluation"]["baseline_evaluations"] = [_MANY]
    file = work / f"{config['name']}.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [
        sys.executable,
        "-m",
        "flowmap_pipelines.cli",
        "run",
        str(file),
        "--root",
        str(root),
        "--json",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(done.returncode)
    store = store_of(root)
    evaluation = json.loads(done.stdout)["steps"]["evaluation"]["artifact"]
    metrics = json.loads(store.get(f"artifacts/{evaluation}/metrics.json"))
    found: dict[str, Any] = metrics["models"]
    return found


if __name__ == "__main__":
    main()
