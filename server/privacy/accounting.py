"""From zero-concentrated differential privacy (zCDP) to epsilon and delta, and back.

Releases with Gaussian noise add up in zCDP: rho of all is the sum of their rho, whatever was asked
because of earlier answers. A mechanism that is rho-zCDP is (epsilon, delta)-differentially private
for

    epsilon = min over a > 1 of  rho a + log(1 - 1 / a) - log(delta a) / (a - 1).

Sources: Bun, Steinke, "Concentrated Differential Privacy", 2016 (zCDP and its composition, lemma
2.3); Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020, proposition
12 (the conversion). Tests compare it with Google's dp-accounting, which itself is no dependency: it
holds attrs back at a version of 2023 for all who install it.
"""

import math


def compute_epsilon(rho: float, delta: float) -> float:
    """The epsilon of rho-zCDP at `delta`; 0 where rho is.

    Raises:
        ValueError: rho is negative, or delta does not lie between 0 and 1.

    >>> round(compute_epsilon(0.1, 1e-5), 3)
    1.914
    """
    if rho < 0 or not 0 < delta < 1:
        raise ValueError(f"rho = {rho} and delta = {delta}; expected rho >= 0 and 0 < delta < 1")
    if rho == 0:
        return 0.0

    def value(log_above: float) -> float:
        above = math.exp(log_above)
        alpha = 1.0 + above
        # log(1 - 1 / alpha) = log(alpha - 1) - log(alpha).
        return rho * alpha + log_above - math.log(alpha) - math.log(delta * alpha) / above

    from scipy.optimize import minimize_scalar

    # The best alpha is near 1 + sqrt(log(1 / delta) / rho).
    guess = 0.5 * math.log(-math.log(delta) / rho)
    bounds = (guess - 8.0, guess + 8.0)
    best = minimize_scalar(value, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return max(float(best.fun), 0.0)


def rho_for(epsilon: float, delta: float) -> float:
    """The largest rho whose epsilon at `delta` is at most the one given.

    Raises:
        ValueError: epsilon is not positive, or delta does not lie between 0 and 1.

    >>> rho = rho_for(3.0, 1e-5)
    >>> abs(compute_epsilon(rho, 1e-5) - 3.0) < 1e-6
    True
    """
    # A command that shows its help needs none of it, and it takes a while to import.
    from scipy.optimize import brentq

    if epsilon <= 0:
        raise ValueError(f"epsilon = {epsilon}; expected more than 0")
    low, high = 1e-12, 1.0
    while compute_epsilon(high, delta) < epsilon:
        high *= 2.0

    def excess(rho: float) -> float:
        return compute_epsilon(rho, delta) - epsilon

    found = brentq(excess, low, high, xtol=1e-15, rtol=1e-12)
    # On the safe side of the root.
    return float(found) * (1.0 - 1e-9)
