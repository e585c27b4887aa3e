"""What a site was told before training, and the seeds that all its randomness derives from."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from clients.orders import Prepare, from_json, to_json
from fairness.binning import Binning
from fairness.groups import Conditions
from wgan.data.codec import TableCodec
from wgan.data.schema import Schema
from wgan.errors import StateError
from wgan.recipe import Recipe
from wgan.shape import Shape


def seed_of(*parts: object) -> int:
    """A seed that derives from names and numbers alone: run, site, round, purpose.

    >>> seed_of(0, "site-00", 1) == seed_of(0, "site-00", 1) != seed_of(0, "site-01", 1)
    True
    """
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def fingerprint(order: Prepare) -> str:
    """16 hexadecimal digits naming all that a site was told before training."""
    return hashlib.sha256(to_json(order).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """What `Prepare` agreed on, ready for use."""

    seed: int
    conditions: Conditions
    mass: npt.NDArray[np.float64]
    recipe: Recipe
    shape: Shape
    schema: Schema
    held_out: float
    binning: Binning = field(default_factory=Binning)

    @staticmethod
    def of(order: Prepare) -> "Plan":
        """Reads the order."""
        schema = Schema.from_json(order.schema)
        conditions = Conditions.from_json(order.conditions)
        codec = TableCodec(schema.without(conditions.given))
        return Plan(
            order.seed,
            conditions,
            np.array(order.mass),
            Recipe.from_json(order.recipe),
            Shape(codec.blocks, codec.width, conditions.width),
            schema,
            order.held_out,
            Binning.of(codec, order.bins),
        )


@lru_cache(maxsize=4)
def plan_of(text: str) -> Plan:
    """The plan in an order's JSON text, read once a process.

    Raises:
        StateError: It holds another order.
    """
    order = from_json(text)
    if not isinstance(order, Prepare):
        raise StateError("a site's plan holds another order than 'prepare'")
    return Plan.of(order)
