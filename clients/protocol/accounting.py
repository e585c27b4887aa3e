"""From the noise of all releases to epsilon and delta, and back.

Every release is a sum of Euclidean sensitivity D with (discrete) Gaussian noise of deviation s, and
is counted by rho = D^2 / (2 s^2), its zCDP. The rho of all releases add up, whatever was asked, and
with however much of a fixed sum, because of earlier answers. Composed, Gaussian releases are as
private as a single one with that rho, mu = sqrt(2 rho) in the terms of Gaussian differential
privacy, and that one's curve is known exactly:

    delta(epsilon) = Phi(mu / 2 - epsilon / mu) - e^epsilon Phi(-mu / 2 - epsilon / mu).

It allows for some 15 % more rho than the conversion that holds of every rho-zCDP mechanism. That
discrete noise is no worse is shown in `everymode.clients.protocol.noise`: what is counted there as
rho differs from a Gaussian release by a factor of densities within 1e-12 of 1, for which `SLACK`
pays.

Sources: Balle, Wang, "Improving the Gaussian Mechanism for Differential Privacy", 2018, theorem 8
(the curve); Dong, Roth, Su, "Gaussian Differential Privacy", 2022, corollary 2 (adaptive
composition); Smith, Thakurta, "Fully Adaptive Composition for Gaussian Differential Privacy", 2022
(a fixed sum that is shared out as one goes). Tests compare it with the privacy loss distributions
of Google's dp-accounting, which itself is no dependency: it holds attrs back at a version of 2023
for all who install it.
"""

import math

SLACK = 1e-8
"""Added to epsilon, and taken off delta as a share of it, for what is discrete: enough for some
thousand releases."""


def compute_epsilon(rho: float, delta: float) -> float:
    """The epsilon at `delta` of Gaussian releases that spend rho together; 0 where rho is.

    Raises:
        ValueError: rho is negative, or delta does not lie between 0 and 1.

    >>> round(compute_epsilon(0.1, 1e-5), 3)
    1.76
    """
    if not 0 <= rho < math.inf or not 0 < delta < 1:
        raise ValueError(f"rho = {rho} and delta = {delta}; expected rho >= 0 and 0 < delta < 1")
    if rho == 0:
        return 0.0
    # A command that shows its help needs none of it, and it takes a while to import.
    from scipy.optimize import brentq

    mu, wanted = math.sqrt(2.0 * rho), math.log(delta) + math.log1p(-SLACK)

    def excess(epsilon: float) -> float:
        return _log_delta(mu, epsilon) - wanted

    if excess(0.0) <= 0:
        return SLACK
    # The conversion of Bun and Steinke, 2016, proposition 1.3, is an upper bound.
    most = rho + 2.0 * math.sqrt(-rho * wanted)
    found = float(brentq(excess, 0.0, most, xtol=1e-14, rtol=1e-13))
    return found + SLACK


def _log_delta(mu: float, epsilon: float) -> float:
    """Log delta(epsilon), minus infinity where that is 0 to rounding."""
    from scipy.special import log_ndtr

    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    ratio = math.exp(min(second - first, 0.0))
    return first + math.log1p(-ratio) if ratio < 1 else -math.inf


def rho_for(epsilon: float, delta: float) -> float:
    """The largest rho whose epsilon at `delta` is at most the one given.

    Raises:
        ValueError: epsilon is not above `SLACK`, or delta does not lie between 0 and 1.

    >>> rho = rho_for(3.0, 1e-5)
    >>> abs(compute_epsilon(rho, 1e-5) - 3.0) < 1e-6
    True
    """
    from scipy.optimize import brentq

    if not SLACK < epsilon < math.inf:
        raise ValueError(f"epsilon = {epsilon}; expected more than {SLACK:g}")
    low, high = 0.0, 1.0
    while compute_epsilon(high, delta) < epsilon:
        high *= 2.0

    def excess(rho: float) -> float:
        return compute_epsilon(rho, delta) - epsilon

    found = brentq(excess, low, high, xtol=1e-15, rtol=1e-12)
    # On the safe side of the root.
    return float(found) * (1.0 - 1e-9)
