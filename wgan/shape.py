"""What the networks must know of the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Block:
    """Outputs `start` to `stop` of a row: one number, or a one-hot group.

    `gate` is, for a number that stands only in the state "continuous", the output that holds the
    share of that state; the number is 0 in all others.
    """

    start: int
    stop: int
    kind: Literal["value", "choice"]
    gate: int | None = None


@dataclass(frozen=True)
class Shape:
    """The layout of one encoded sample and of its condition.

    Attributes:
        blocks: How the outputs of the generator are laid out; empty: `width` plain numbers.
        width: D, length of an encoded sample.
        condition: C, length of a condition.
        scale: s, by which the codec scaled the data; a slope of 1 in the data's units is one of
            1/s here.
        sample: The sample's own axes, (channels, height, width) of an image; empty for a row. A
            sample always travels flat, `(B, D)`.
    """

    blocks: Sequence[Block]
    width: int
    condition: int
    scale: float = 1.0
    sample: tuple[int, ...] = ()

    def packed(self, count: int) -> "Shape":
        """The shape of `count` samples side by side, as one sample of a packed critic.

        Images are stacked along their channels.

        >>> Shape((Block(0, 2, "choice"),), 2, 3).packed(2)
        Shape(blocks=(Block(start=0, stop=2, kind='choice', gate=None), \
Block(start=2, stop=4, kind='choice', gate=None)), width=4, condition=6, scale=1.0, sample=())
        """
        moved = tuple(
            replace(
                block,
                start=block.start + self.width * i,
                stop=block.stop + self.width * i,
                gate=None if block.gate is None else block.gate + self.width * i,
            )
            for i in range(count)
            for block in self.blocks
        )
        sample = (self.sample[0] * count, *self.sample[1:]) if self.sample else ()
        return replace(
            self,
            blocks=moved,
            width=self.width * count,
            condition=self.condition * count,
            sample=sample,
        )
