"""Tests of `everymode.simulations.claims`."""
