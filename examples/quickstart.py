"""A flow map of 2-D points, and a reward that is a plain function: the map before and after GRPO."""

import torch
from torch import Tensor, nn

import flowmap

CENTRES = {"left": (-1.0, 0.0), "right": (1.0, 0.0)}
GRID = (1.0, 0.5, 0.0)  # two map evaluations a sample


class Network(nn.Module):  # your own: the average velocity between the times r and t
    def __init__(self) -> None:
        super().__init__()
        self.prompt, act = nn.Embedding(2, 8), nn.SiLU()
        self.layers = nn.Sequential(nn.Linear(12, 128), act, nn.Linear(128, 128), act, nn.Linear(128, 2))

    def forward(self, x: Tensor, t: Tensor, r: Tensor, condition: flowmap.Condition) -> Tensor:
        prompt = self.prompt(condition["prompt"])
        return torch.as_tensor(self.layers(torch.cat([x, t[:, None], (t - r)[:, None], prompt], 1)))


def height(samples: flowmap.Samples) -> Tensor:  # your own: of data (groups, members, 2)
    return samples.data[..., 1].clamp(max=0.5)  # nothing is gained above .5


noise = torch.randn(256, 2, generator=torch.manual_seed(0))
model, prompts = flowmap.Model(Network(), prompts=list(CENTRES), shape=(2,)), list(CENTRES) * 128
optimizer, generator = torch.optim.Adam(model.parameters(), 2e-3), torch.Generator()
for _ in range(1500):  # base training: MeanFlow, on points around each prompt's centre
    x = torch.tensor([CENTRES[prompt] for prompt in prompts]) + 0.3 * torch.randn(len(prompts), 2)
    loss = flowmap.mean_flow_loss(model.network, x, model.condition(prompts), generator=generator)[0]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
settings = flowmap.GrpoSettings(grid=GRID, kernel="endpoint", learning_rate=3e-4, kl_target=0.5)
grpo = flowmap.Grpo(model, [height], list(CENTRES), settings, flowmap.TorchEngine())
print(f"before: mean height {model.sample(prompts, noise, GRID)[:, 1].mean():+.2f}")
kl = [grpo.rollout(index)["kl"] for index in range(30)]
print(f"after:  mean height {model.sample(prompts, noise, GRID)[:, 1].mean():+.2f}, {kl[-1]:.2f} nats of KL")
