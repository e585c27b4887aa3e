"""Groups, their weights, and what is measured of each: marginals, coverage, utility."""
