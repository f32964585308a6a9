"""Trains the autoencoder of a FLUX model, and measures the scale of its latents."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from flowmap.data.dataset import read_split
from flowmap.progress import Progress, say
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import BaseTraining
from flowmap.text_to_image.latents import FOLDER, fresh_autoencoder
from flowmap.training.devices import device
from flowmap.training.schedule import schedule
from flowmap.training.work import Work

_BATCH, _LEARNING_RATE = 32, 3e-3
_CLIP_NORM = 1.0
_SQUARED, _KL = 4.0, 6e-3  # weights beside the absolute error's 1
_NUM_MEASURED = 1500
_CURVE_EVERY = 20


def train(work: Work) -> None:
    """Leaves the folder `vae`.

    The loss is absolute and squared error of the picture, and a little KL that keeps latents near a normal
    distribution (arXiv 2112.10752).
    """
    section = BaseTraining.model_validate_json(work.section)
    assert section.flux is not None
    data = read_split(work.inputs["data"], "base").data
    torch.manual_seed(derived_seed(section.seed, "autoencoder", "weights"))  # and the posterior's samples
    sizes, channels = section.flux, data.shape[1]
    vae = fresh_autoencoder(channels, sizes.latent_channels, sizes.autoencoder_widths).to(device())
    optimizer = torch.optim.AdamW(vae.parameters(), _LEARNING_RATE, betas=(0.9, 0.99))
    generator = generator_for(section.seed, "autoencoder", "batches")
    num_updates = sizes.autoencoder_updates
    with Progress("base_training autoencoder", num_updates) as progress:
        for update in range(num_updates):
            for group in optimizer.param_groups:
                group["lr"] = _LEARNING_RATE * schedule(update, num_updates)
            x = data[torch.randint(len(data), (_BATCH,), generator=generator)].to(device())
            posterior = vae.encode(x).latent_dist
            seen = vae.decode(posterior.sample()).sample
            error = F.l1_loss(seen, x) + _SQUARED * F.mse_loss(seen, x)
            loss = error + _KL * posterior.kl().mean() / x[0].numel()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), _CLIP_NORM)
            optimizer.step()
            progress.update(error=float(error.detach()))
            if update % _CURVE_EVERY == 0:
                work.events.add(update, {"error": float(error.detach())})
    vae.eval()
    with torch.no_grad():
        some = data[:_NUM_MEASURED].split(_BATCH)
        latents = torch.cat([vae.encode(x.to(device())).latent_dist.mean for x in some])
        seen = torch.cat([vae.decode(each).sample.cpu() for each in latents.split(_BATCH)])
    shift, scale = float(latents.mean()), float(1 / latents.std())
    vae.register_to_config(shift_factor=shift, scaling_factor=scale)
    vae.cpu().save_pretrained(work.out / FOLDER)
    off = float((seen - data[:_NUM_MEASURED]).square().mean().sqrt())
    say(f"base_training: the autoencoder is off by {off:.3f} (rms, where pictures go from -1 to 1)")
    work.events.upload()
