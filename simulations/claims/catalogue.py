"""All claims, in their order."""

from simulations.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
