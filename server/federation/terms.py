"""What the server's generator pays for besides the critic: matching, parity, a group adversary."""

from dataclasses import dataclass
from typing import Literal

from everymode.fairness.parity.adversary import GroupAdversarySpec


@dataclass(frozen=True)
class ParityTerm:
    """A penalty on the gap of the label between groups; see `everymode.fairness.parity.penalty`.

    Attributes:
        kind: Of which gap.
        weight: What it counts in the generator's loss.
        level: Share of the data's own gap that may stay, 0 to 1.
        features: Sensitive features that count; empty: all.
        shape: How a gap is counted.
        label: The label that is the advantage; None: the rarest.
    """

    kind: Literal["demographic", "equal_opportunity"]
    weight: float
    level: float
    features: tuple[str, ...]
    shape: Literal["squared", "absolute"]
    label: str | None


@dataclass(frozen=True)
class GeneratorTerms:
    """Further terms of the generator's loss.

    Attributes:
        matching: Weight of matching what sites sum of their rows.
        parity: The parity penalty; None: there is none.
        adversary: The group adversary; None: there is none.
    """

    matching: float = 0.0
    parity: ParityTerm | None = None
    adversary: GroupAdversarySpec | None = None
