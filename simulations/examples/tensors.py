"""A WGAN-GP on one's own tensors: `everymode.wgan` alone, without sites, groups or tables.

python simulations/examples/tensors.py
"""

import math

import torch

from everymode.wgan import (
    Batch,
    Linear,
    MLPCriticSpec,
    MLPGeneratorSpec,
    Players,
    Recipe,
    Schedule,
    Shape,
    train,
)

RADIUS = 2.0


def ring(count: int, rng: torch.Generator) -> Batch:
    """Points on a noisy ring."""
    angle = 2 * math.pi * torch.rand(count, generator=rng)
    rows = RADIUS * torch.stack((angle.cos(), angle.sin()), dim=1)
    rows = rows + 0.05 * torch.randn((count, 2), generator=rng)
    return Batch(rows, condition=rows[:, :0], weights=torch.ones(count))


recipe = Recipe(generator=MLPGeneratorSpec((64, 64)), critic=MLPCriticSpec((64, 64)))
players = Players(recipe, Shape(blocks=(), width=2, condition=0), seed=0)
rng = torch.Generator().manual_seed(0)
schedule = Schedule(steps=300, batch=128, rates=Linear())
for step, report in enumerate(train(players, ring, schedule, rng), start=1):
    if step % 100 == 0:
        print(f"step {step}: estimate of W1 {float(report.estimate.mean()):.3f}")

points = players.fake(torch.zeros(1000, 0), rng)
print(f"mean distance from the centre: {float(points.norm(dim=1).mean()):.2f} (real {RADIUS:.2f})")
