"""The judge's network for images: convolutional, so of another architecture than what it judges."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

_NUM_FEATURES = 64


def make_judge(shape: Sequence[int], num_prompts: int) -> ImageJudge:
    """A fresh judge of images of a shape, (channels, height, width)."""
    return ImageJudge(shape, num_prompts)


class ImageJudge(nn.Module):
    """Logits of the prompts, and the 64 features that distances are measured in; x (batch, channels, height,
    width)."""

    def __init__(self, shape: Sequence[int], num_prompts: int) -> None:
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
