"""The judge: a classifier of its own architecture, trained on a split that nothing else saw; it stays in
evaluation.

What the reward model, a modulated MLP, can be fooled by need not fool another network with other data.
"""

from __future__ import annotations

from typing import cast

import torch
from torch.nn import functional as F

from flowmap.data.dataset import Split
from flowmap.modality.protocols import JudgeNetwork, Judging
from flowmap.progress import Progress
from flowmap.seeding import derived_seed, generator_for

_BATCH = 128
_JITTER = 0.15


def train_judge(
    data: Split, judging: Judging, shape: tuple[int, ...], num_prompts: int, num_updates: int, seed: int
) -> JudgeNetwork:
    """Train on the judge split, with noise on the data so that its features are smooth near them."""
    torch.manual_seed(derived_seed(seed, "judge", "weights"))
    judge = judging.make_judge(shape, num_prompts)
    optimizer = torch.optim.AdamW(judge.parameters(), 1e-3, weight_decay=1e-2)
    generator = generator_for(seed, "judge", "batches")
    with Progress("evaluation: judge", num_updates) as progress:
        for _ in range(num_updates):
            chosen = torch.randint(len(data), (_BATCH,), generator=generator)
            x = data.data[chosen]
            noisy = x + _JITTER * torch.randn(x.shape, generator=generator)
            loss = F.cross_entropy(judge(noisy), data.prompts[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.update(loss=float(loss.detach()))
    return cast(JudgeNetwork, judge.eval().requires_grad_(False))
