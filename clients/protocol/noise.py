"""Noise that is asked for with a question, and by how much one row can move the sum it is added to.

Privacy is meant at the level of a record: two tables are neighbours where one has one row more, at
whichever site (add or remove one). A sum of Euclidean sensitivity D with Gaussian noise of variance
s^2 in every entry spends rho = D^2 / (2 s^2); how rho becomes epsilon and delta is told in
`everymode.clients.protocol.accounting`. A question may have portions of entries with noise of their
own: their rho add up, and each has its share of the question's.

**Noise is discrete, and no worse.** Let x be N(v, a), v a whole number, and y a whole number drawn
with probabilities in proportion to exp(-(y - x)^2 / (2 r)). By Poisson's summation formula these
add up to sqrt(2 pi r) within a factor of 1 +- e, e = 2 exp(-2 pi^2 r) and hardly more, for every x.
So y has the probabilities of v plus a discrete Gaussian of parameter a + r, within a factor of
(1 + e) / (1 - e). Hence a sum with a discrete Gaussian of parameter p is a sum with Gaussian noise
of variance p - r that was worked on further, but for this factor in each entry; and further work
costs no privacy. `Sensitivity` takes r such that the factors of all entries together are within
1e-12 of 1, and rho is counted with p - r.

Each site adds its share of the noise: a variance of s^2 / m where m sites are counted on to add
theirs. So the total has the noise even where all others drop out or add none. By the same formula a
sum of two discrete Gaussians of parameters p and q is one of p + q within a factor of
(1 + e) / (1 - e), e = 2 exp(-2 pi^2 p q / (p + q)). A share's parameter is large enough for those
of all shares and entries to be within 1e-12 of 1, too. Whoever sees one site's sum alone has only
that site's share between himself and its rows: m times rho.

Sources: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020 (discrete
Gaussians, fact 18 of Poisson's formula); Peikert, "An Efficient and Parallel Gaussian Sampler for
Lattices", 2010, theorem 3.1 (Gaussians rounded by discrete ones); Kairouz, Liu, Steinke, "The
Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation", 2021 (sums
of shares).
"""

import math
from dataclasses import dataclass

NOISE_BITS = 30
"""Sums of encoded rows are whole multiples of 2^-30, and so is their noise: see
`everymode.fairness.matching.private_moments`."""

COUNT_BITS = 10
"""Counts with noise are multiples of 2^-10: noise on whole numbers has to be some two rows wide at
each site, however many sites there are."""

CLOSE = 1e-12
"""How far from 1 the densities of all entries together may be from those of Gaussian noise."""


@dataclass(frozen=True)
class Noise:
    """What a question asks every site to add to its sums.

    Attributes:
        rho: What the sum over all sites spends, in zCDP, for adding or removing one row.
        adders: m, how many sites are counted on to add their share.
        clip: Largest norm of what one row adds to one level of moments; 0 where none is needed.
        sites: How many sites are asked, all of which add noise; 0: those that are counted on.
        group_clip: The same as `clip` for levels of groups.
        first_share: Share of rho that the question's first portion gets, if it has two: cells of
            group and label beside numbers, levels of groups beside the others. 0: all entries have
            the same noise.
    """

    rho: float
    adders: int
    clip: float = 0.0
    sites: int = 0
    group_clip: float = 0.0
    first_share: float = 0.0

    @property
    def excess(self) -> float:
        """How many times as wide the total's noise is as promised, where all sites add theirs.

        >>> Noise(0.5, 1, sites=4).excess
        2.0
        """
        return math.sqrt(max(self.sites, self.adders) / self.adders)


@dataclass(frozen=True)
class Portion:
    """Entries of a sum that have noise of one width.

    Attributes:
        l2: Bound of the Euclidean norm by which one row moves them, in the sum's own units.
        entries: How many there are.
    """

    l2: float
    entries: int


@dataclass(frozen=True)
class Sensitivity:
    """By how much one row can move the vector of sums that a question asks for.

    Attributes:
        portions: One or two, whose entries follow one another in the order of the fields.
        fields: Names of the fields that rows move; all others hold nothing of any row.
        bits: The noise lies on multiples of 2^-bits of the sum's own units.
        derivation: Why, in words.
    """

    portions: tuple[Portion, ...]
    fields: tuple[str, ...]
    bits: int
    derivation: str

    @property
    def l2(self) -> float:
        """Bound of the Euclidean norm over all portions."""
        return math.hypot(*(portion.l2 for portion in self.portions))

    @property
    def entries(self) -> int:
        """Entries that have noise."""
        return sum(portion.entries for portion in self.portions)

    def shares(self, noise: Noise) -> tuple[float, ...]:
        """Share of rho that each portion gets.

        >>> both = Sensitivity((Portion(1.0, 4), Portion(2.0, 9)), ("counts",), 0, "")
        >>> both.shares(Noise(0.5, 1)), both.shares(Noise(0.5, 1, first_share=0.5))
        ((0.2, 0.8), (0.5, 0.5))
        """
        squares = [portion.l2**2 for portion in self.portions]
        if len(squares) == 2 and noise.first_share:
            return noise.first_share, 1.0 - noise.first_share
        return tuple(square / math.fsum(squares) for square in squares)

    def deviations(self, noise: Noise) -> tuple[float, ...]:
        """S of each portion: the standard deviation that the total over all sites is promised.

        >>> Sensitivity((Portion(1.0, 6),), ("cells",), 0, "").deviations(Noise(0.5, 3))
        (1.0,)
        """
        return tuple(
            portion.l2 / math.sqrt(2.0 * noise.rho * share)
            for portion, share in zip(self.portions, self.shares(noise), strict=True)
        )

    def deviation(self, noise: Noise) -> float:
        """The largest of these."""
        return max(self.deviations(noise), default=0.0)

    def explain(self, noise: Noise) -> str:
        """The derivation, and how wide the noise of each portion is, where there are two."""
        if len(self.portions) < 2:
            return self.derivation
        first, second = self.deviations(noise)
        return (
            f"{self.derivation}; the first have noise of {first:.3g} rows, the others of "
            f"{second:.3g}"
        )

    def total_deviations(self, noise: Noise) -> tuple[float, ...]:
        """Standard deviations of the total's noise where all sites add theirs: what it is in fact.

        >>> bound = Sensitivity((Portion(1.0, 6),), ("cells",), 0, "")
        >>> bound.total_deviations(Noise(0.5, 1, sites=4))
        (2.0,)
        """
        return tuple(own * noise.excess for own in self.deviations(noise))

    def parameters(self, noise: Noise) -> tuple[int, ...]:
        """Of each portion the parameter of one site's discrete Gaussian, on the noise's grid.

        It is rounded up, and larger than s^2 / m by what discrete noise takes.
        """
        # Of m shares, e is at most that of two: (m - 1) 5 exp(-pi^2 p) in each entry.
        close = 5.0 * noise.adders * max(self.entries, 1) / CLOSE
        least = math.ceil(math.log(close) / math.pi**2)
        return tuple(
            max(math.ceil((own**2 * 4.0**self.bits + self._rounding) / noise.adders), least)
            for own in self.deviations(noise)
        )

    def site_deviation(self, noise: Noise) -> float:
        """Largest standard deviation of one site's share, in the sum's own units."""
        return math.sqrt(max(self.parameters(noise), default=0)) / 2.0**self.bits

    def charged(self, noise: Noise) -> float:
        """Rho that the total spends, as Gaussian noise that is no better than the discrete one."""
        return self._charged(noise, noise.adders)

    def charged_at_site(self, noise: Noise) -> float:
        """Rho that one site's own sum spends: only its own share lies over it."""
        return self._charged(noise, 1)

    def _charged(self, noise: Noise, shares: int) -> float:
        return math.fsum(
            (portion.l2 * 2.0**self.bits) ** 2 / (2.0 * (shares * parameter - self._rounding))
            for portion, parameter in zip(self.portions, self.parameters(noise), strict=True)
        )

    @property
    def _rounding(self) -> float:
        """What of a discrete Gaussian's parameter is not counted: r of the module's text.

        The factor of an entry is within 5 exp(-2 pi^2 r) of 1. It is half of a share's least
        parameter, or less.
        """
        return math.log(5.0 * max(self.entries, 1) / CLOSE) / (2.0 * math.pi**2)
