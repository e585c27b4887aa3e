"""The one thing that leaves a site: a named additive vector whose length is known beforehand.

Some rival methods need what a single site sends (MD-GAN its critic, agnostic weights its loss).
Their messages ask for *payloads* as well: named arrays of known length, kept apart by site. Adding
two answers joins their payloads, so they travel the same way; but they are what secure summation
exists to hide, and no strategy of our own asks for any.

Values travel as 64-bit integers, multiples of a stated resolution. Integer addition is exact and
order-free, so the total does not depend on which node served which site or on whose reply came
first, and the vectors are ready to be masked for secure summation. A value outside the stated range
is an error, never a wrapped number.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.wgan.errors import EveryModeError, NumericalError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SitePayload = dict[str, npt.NDArray[np.float32]]
"""What one site sends apart, by name."""

LARGEST = 2.0**62
"""No entry of a sum may exceed this, in units: one bit is left to see an overflow."""


class ReplyError(EveryModeError):
    """A reply that is not what was agreed on: the failure of the node that sent it."""


@dataclass(frozen=True)
class Field:
    """One named array in a vector of sums.

    Attributes:
        name: Its name.
        shape: Its shape.
        bits: The resolution is 2^-bits; 0 for counts. Values are rounded to it, so an entry of a
            total over K sites is within K 2^-(bits+1) of the exact sum.
        wrapping: Whether entries live modulo 2^64 (hashes and keys of a sketch) instead of being
            numbers with a range.
        client_state: Whether a deployed site would keep this array on its own disk. Here the
            server stores it between rounds, so that checkpoints are complete; it is excluded from
            traffic.
    """

    name: str
    shape: tuple[int, ...]
    bits: int = 0
    wrapping: bool = False
    client_state: bool = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def limit(self) -> float:
        """Largest magnitude that a total may reach."""
        return LARGEST / 2.0**self.bits


@dataclass(frozen=True)
class Layout:
    """The names, shapes and resolutions of a vector of sums: agreed before anything is sent.

    Attributes:
        fields: What is added up over sites.
        per_site: What each site sends apart, as float32.
    """

    fields: tuple[Field, ...]
    per_site: tuple[Field, ...] = ()

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(field.size for field in self.fields)

    def pack(
        self, values: Mapping[str, Any], per_site: Mapping[str, SitePayload] | None = None
    ) -> "SiteSums":
        """Rounds named arrays to the resolution; `per_site` come from `letter`.

        Raises:
            NumericalError: A value that is not finite or out of range.
            KeyError: A field without a value.
            ValueError: An array of another shape, or a name that is no field.
        """
        unknown = set(values) - {field.name for field in self.fields}
        if unknown:
            raise ValueError(f"no field called {', '.join(sorted(unknown))}")
        vector = np.empty(self.size, dtype=np.int64)
        start = 0
        for field in self.fields:
            array = np.asarray(values[field.name])
            if array.shape != field.shape:
                raise ValueError(f"{field.name} has shape {array.shape}, expected {field.shape}")
            stop = start + field.size
            vector[start:stop] = _units(array.reshape(-1), field)
            start = stop
        return SiteSums(self, vector, per_site or {})

    def site_payload(self, site: str, values: Mapping[str, Any]) -> dict[str, SitePayload]:
        """One site's payloads, checked and as float32.

        Raises:
            NumericalError: A value that is not finite.
            KeyError: A letter without a value.
            ValueError: An array of another shape.
        """
        checked: SitePayload = {}
        for field in self.per_site:
            array = np.asarray(values[field.name], dtype=np.float32)
            if array.shape != field.shape:
                raise ValueError(f"{field.name} has shape {array.shape}, expected {field.shape}")
            if not np.isfinite(array).all():
                raise NumericalError(
                    f"'{field.name}' of site '{site}' is not finite: training has diverged; "
                    "lower model.critic_rate and model.generator_rate"
                )
            checked[field.name] = array
        return {site: checked}

    def zero(self) -> "SiteSums":
        """The sum over no sites."""
        return SiteSums(self, np.zeros(self.size, dtype=np.int64))


@dataclass(frozen=True)
class SiteSums:
    """A vector of sums, of one site or of many: adding two gives another.

    >>> layout = Layout((Field("rows", (1,)), Field("loss", (2,), bits=20)))
    >>> total = layout.pack({"rows": [3], "loss": [0.5, 0.25]}) + layout.zero()
    >>> total["loss"].tolist()
    [0.5, 0.25]
    """

    layout: Layout
    vector: Ints
    per_site: Mapping[str, SitePayload] = dataclass_field(default_factory=dict)
    mechanisms: tuple[str, ...] = ()
    """What sites' privacy mechanisms state, as JSON; see `everymode.clients.gate.release`."""

    @property
    def nbytes(self) -> int:
        """Bytes that a real site would send."""
        sent = {field.name for field in self.layout.per_site if not field.client_state}
        per_site = (a.nbytes for m in self.per_site.values() for n, a in m.items() if n in sent)
        return self.vector.nbytes + sum(per_site)

    def __getitem__(self, name: str) -> Floats:
        """The array called `name`, as floating-point numbers."""
        field, units = self._find(name)
        return (units.astype(np.float64) * 2.0**-field.bits).reshape(field.shape)

    def units(self, name: str) -> Ints:
        """The array called `name`, as the integers that travelled."""
        field, units = self._find(name)
        return units.reshape(field.shape)

    def __add__(self, other: "SiteSums") -> "SiteSums":
        """The sum of both.

        Raises:
            ValueError: The layouts differ, or both hold payloads of one site.
            NumericalError: A total leaves the range; the field is named.
        """
        if self.layout != other.layout:
            raise ValueError("sums of different layouts cannot be added")
        if twice := self.per_site.keys() & other.per_site.keys():
            raise ValueError(f"two answers of site {', '.join(sorted(twice))}")
        vector = self.vector + other.vector
        # Two numbers below 2^62 add to one below 2^63: no wrap-around can hide a number too large.
        if _too_large(vector):
            start = 0
            for field in self.layout.fields:
                stop = start + field.size
                if not field.wrapping and _too_large(vector[start:stop]):
                    raise NumericalError(
                        f"the sum of '{field.name}' over sites exceeds its range of "
                        f"+-{field.limit:.3g}: training has diverged, or a site sent nonsense"
                    )
                start = stop
        per_site = {**self.per_site, **other.per_site}
        mechanisms = tuple(sorted({*self.mechanisms, *other.mechanisms}))
        return SiteSums(self.layout, vector, dict(sorted(per_site.items())), mechanisms)

    def _find(self, name: str) -> tuple[Field, Ints]:
        start = 0
        for field in self.layout.fields:
            stop = start + field.size
            if field.name == name:
                return field, self.vector[start:stop]
            start = stop
        raise KeyError(name)


def _too_large(units: Ints) -> bool:
    # Not by the magnitude: that of the smallest integer is itself, hence below any bound.
    return bool(((units >= LARGEST) | (units <= -LARGEST)).any())


def _units(array: npt.NDArray[Any], field: Field) -> Ints:
    if field.wrapping:
        if array.dtype != np.int64:
            raise ValueError(f"{field.name} wraps around and must be int64, is {array.dtype}")
        return array
    values = array.astype(np.float64)
    values *= 2.0**field.bits
    # Extremes need no array of magnitudes; they are NaN where any value is.
    largest = max(values.max(initial=0.0), -values.min(initial=0.0))
    if not np.isfinite(largest):
        raise NumericalError(
            f"'{field.name}' is not finite: training has diverged; "
            "lower model.critic_rate and model.generator_rate"
        )
    if largest >= LARGEST:
        raise NumericalError(
            f"'{field.name}' reaches {np.abs(array).max():.3g}, beyond the range of "
            f"+-{field.limit:.3g} that sums can carry: training has diverged; lower "
            "model.critic_rate and model.generator_rate, or train.critic_steps"
        )
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64) << field.bits
    return np.rint(values, out=values).astype(np.int64)
