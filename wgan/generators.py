"""Networks that turn noise and a condition into a sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wgan.data.codec import Block


class Head(nn.Module):
    """Turns raw outputs into a row as the codec writes it.

    A `choice` block becomes a relaxed one-hot vector by the Gumbel-softmax; a `value` block is
    passed through, times its gate where it has one.

    Source: Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017, equation 2.
    """

    gated: Tensor
    gates: Tensor

    def __init__(self, blocks: Sequence[Block], temperature: float) -> None:
        """Notes which outputs are one-hot and which of them belong together."""
        super().__init__()
        self.temperature = temperature
        choices = [block for block in blocks if block.kind == "choice"]
        gated = [(b.start, b.gate) for b in blocks if b.gate is not None]
        self.register_buffer("gated", torch.tensor([g[0] for g in gated]), persistent=False)
        self.register_buffer("gates", torch.tensor([g[1] for g in gated]), persistent=False)
        self.spans = [(b.start, b.stop) for b in choices]
        self.drawn = sum(stop - start for start, stop in self.spans)

    def forward(self, raw: Tensor, rng: torch.Generator) -> Tensor:
        """Raw outputs `(B, D)` -> rows `(B, D)`."""
        if not self.spans:
            return raw
        uniform = torch.rand(
            (len(raw), self.drawn), generator=rng, device=raw.device, dtype=raw.dtype
        )
        tiny = torch.finfo(raw.dtype).tiny
        gumbel = -(-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()
        pieces: list[Tensor] = []
        done = drawn = 0
        for start, stop in self.spans:
            if start > done:
                pieces.append(raw[:, done:start])
            noise = gumbel[:, drawn : drawn + stop - start]
            pieces.append(torch.softmax((raw[:, start:stop] + noise) / self.temperature, 1))
            done, drawn = stop, drawn + stop - start
        if done < raw.shape[1]:
            pieces.append(raw[:, done:])
        rows = torch.cat(pieces, 1)
        if not len(self.gated):
            return rows
        factor = torch.ones_like(rows).index_copy(1, self.gated, rows[:, self.gates])
        return rows * factor


class SkipGenerator(nn.Module):
    """Layers whose input is concatenated to their output, then a linear layer and the head.

    The skips let the last layer see the noise and the condition directly, as in CTGAN's generator
    (Xu et al., "Modeling Tabular data using Conditional GAN", 2019, section 4.4); LayerNorm in
    place of its batch norm, so that a row does not depend on the other rows of its batch.
    """

    def __init__(
        self, noise: int, condition: int, hidden: Sequence[int], head: Head, width: int
    ) -> None:
        """Builds the layers.

        Args:
            noise: Z, length of the noise.
            condition: C, length of a condition.
            hidden: Sizes of the layers.
            head: What makes rows of raw outputs.
            width: D, length of a row.
        """
        super().__init__()
        self.noise = noise
        size = noise + condition
        self.layers = nn.ModuleList()
        for outputs in hidden:
            self.layers.append(
                nn.Sequential(nn.Linear(size, outputs), nn.LayerNorm(outputs), nn.ReLU())
            )
            size += outputs
        self.last = nn.Linear(size, width)
        self.head = head

    def forward(self, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Conditions `(B, C)` -> rows `(B, D)`; noise is drawn from `rng`."""
        hidden = torch.cat(
            [
                torch.randn(
                    (len(condition), self.noise),
                    generator=rng,
                    device=condition.device,
                    dtype=condition.dtype,
                ),
                condition,
            ],
            1,
        )
        for layer in self.layers:
            hidden = torch.cat([layer(hidden), hidden], 1)
        rows: Tensor = self.head(self.last(hidden), rng)
        return rows


@dataclass(frozen=True)
class SkipGeneratorSpec:
    """How a `SkipGenerator` is built."""

    hidden: tuple[int, ...] = (256, 256)
    noise: int = 128
    temperature: float = 0.2

    def build(self, blocks: Sequence[Block], width: int, condition: int) -> SkipGenerator:
        """A generator of rows of length `width` laid out as `blocks`."""
        head = Head(blocks, self.temperature)
        return SkipGenerator(self.noise, condition, self.hidden, head, width)
