"""The judge: a classifier of its own architecture, trained on a split that nothing else saw; it stays in evaluation.

What the reward model, a modulated MLP, can be fooled by need not fool a convolutional network with other data.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowmap.data.dataset import Split
from flowmap.progress import Progress

_NUM_FEATURES = 64
_BATCH = 128
_JITTER = 0.15


class Judge(nn.Module):
    """Logits of the prompts, and the 64 features that distances are measured in; x (batch, channels, height, width)."""

    def __init__(self, shape: tuple[int, int, int], num_prompts: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 24, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(24, 48, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(48 * ((height + 1) // 2) * ((width + 1) // 2), _NUM_FEATURES),
            nn.SiLU(),
        )
        self.head = nn.Linear(_NUM_FEATURES, num_prompts)

    def features(self, x: Tensor) -> Tensor:
        """Shape (batch, 64)."""
        found: Tensor = self.body(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, prompts)."""
        logits: Tensor = self.head(self.body(x))
        return logits


def train_judge(data: Split, shape: tuple[int, int, int], num_prompts: int, num_updates: int, seed: int) -> Judge:
    """Train on the judge split, with noise on the images so that its features are smooth near them."""
    torch.manual_seed(seed)
    judge = Judge(shape, num_prompts)
    optimizer = torch.optim.AdamW(judge.parameters(), 1e-3, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(seed)
    with Progress("evaluation: judge", num_updates) as progress:
        for _ in range(num_updates):
            chosen = torch.randint(len(data), (_BATCH,), generator=generator)
            x = data.images[chosen]
            noisy = x + _JITTER * torch.randn(x.shape, generator=generator)
            loss = F.cross_entropy(judge(noisy), data.prompts[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.update(loss=float(loss.detach()))
    return judge.eval().requires_grad_(False)
