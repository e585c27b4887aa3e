"""Matching of the distribution of each group, from sums that sites send once.

- `moments`: second moments within each level of the condition.
- `features`: random features (kernel) and sliced histograms.
- `kernels`: Gaussian kernels and their bandwidths.
- `binning`: bins of numbers that join the second moments.
- `suppression`: which moments rest on enough rows to be summed.
"""
