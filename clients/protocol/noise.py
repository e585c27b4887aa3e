"""Noise that is asked for with a question, and by how much one row can move the sum it is added to.

Privacy is meant at the level of a record: two tables are neighbours where one has one row more, at
whichever site (add or remove one). A sum of Euclidean sensitivity D with Gaussian noise of variance
s^2 in every entry is rho-zCDP with rho = D^2 / (2 s^2), and so it is with the discrete Gaussian
(Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020, theorem 4).

Each site adds its share of the noise: a variance of s^2 / m where m sites are counted on to add
theirs. So the total has the noise even where all others drop out or add none. A sum of discrete
Gaussians is no discrete Gaussian, but so close to one that `charged` exceeds rho by less than 1 in
10^9 (Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning
with Secure Aggregation", 2021, theorem 1). Whoever sees one site's sum alone has only that site's
share between himself and its rows: m times rho.
"""

import math
from dataclasses import dataclass

NOISE_BITS = 30
"""Sums of encoded rows are whole multiples of 2^-30, and so is their noise: see
`everymode.fairness.matching.private_moments`."""

LEAST_DEVIATION = 2.0
"""Least standard deviation of one site's share, in units of the noise's grid."""


@dataclass(frozen=True)
class Noise:
    """What a question asks every site to add to its sums.

    Attributes:
        rho: What the sum over all sites spends, in zCDP, for adding or removing one row.
        adders: m, how many sites are counted on to add their share.
        clip: Largest norm of what one row adds to one level of moments; 0 where none is needed.
        sites: How many sites are asked, all of which add noise; 0: those that are counted on.
    """

    rho: float
    adders: int
    clip: float = 0.0
    sites: int = 0

    @property
    def excess(self) -> float:
        """How many times as wide the total's noise is as promised, where all sites add theirs.

        >>> Noise(0.5, 1, sites=4).excess
        2.0
        """
        return math.sqrt(max(self.sites, self.adders) / self.adders)


@dataclass(frozen=True)
class Sensitivity:
    """By how much one row can move the vector of sums that a question asks for.

    Attributes:
        l2: Bound of the Euclidean norm, in the sum's own units.
        fields: Names of the fields that rows move; all others hold nothing of any row.
        entries: Their entries, all together.
        bits: The noise lies on multiples of 2^-bits of these units.
        derivation: Why, in words.
    """

    l2: float
    fields: tuple[str, ...]
    entries: int
    bits: int
    derivation: str

    def deviation(self, noise: Noise) -> float:
        """s, the standard deviation that the total over all sites is promised.

        >>> Sensitivity(1.0, ("cells",), 6, 0, "").deviation(Noise(0.5, 3))
        1.0
        """
        return self.l2 / math.sqrt(2.0 * noise.rho)

    def total_deviation(self, noise: Noise) -> float:
        """Standard deviation of the total's noise where all sites add theirs: what it is in fact.

        >>> Sensitivity(1.0, ("cells",), 6, 0, "").total_deviation(Noise(0.5, 1, sites=4))
        2.0
        """
        return self.deviation(noise) * noise.excess

    def parameter(self, noise: Noise) -> int:
        """The parameter of one site's discrete Gaussian, on the noise's grid, rounded up."""
        share = self.deviation(noise) ** 2 / noise.adders
        return max(math.ceil(share * 4.0**self.bits), math.ceil(LEAST_DEVIATION**2))

    def site_deviation(self, noise: Noise) -> float:
        """Standard deviation of one site's share, in the sum's own units, no more than exact."""
        return math.sqrt(self.parameter(noise)) / 2.0**self.bits

    def charged(self, noise: Noise) -> float:
        """ZCDP that the total spends, the distance from a discrete Gaussian included.

        Theorem 1 of Kairouz, Liu and Steinke, 2021: with m shares of parameter s^2 on the grid,
        t = 10 sum_(k < m) exp(-2 pi^2 s^2 k / (k + 1)), and d entries, rho is
        (D / (sqrt(m) s) + t sqrt(d))^2 / 2.
        """
        parameter, shares = self.parameter(noise), noise.adders
        # All terms are at most that of k = 1.
        excess = 10.0 * (shares - 1) * math.exp(-min(math.pi**2 * parameter, 700.0))
        moved = self.l2 * 2.0**self.bits / math.sqrt(shares * parameter)
        return (moved + excess * math.sqrt(self.entries)) ** 2 / 2.0

    def charged_at_site(self, noise: Noise) -> float:
        """ZCDP that one site's own sum spends: only its own share lies over it."""
        return (self.l2 * 2.0**self.bits) ** 2 / (2.0 * self.parameter(noise))
