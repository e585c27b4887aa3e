"""Tests of `everymode.simulations.compare`."""
