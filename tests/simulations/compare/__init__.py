"""Tests of `simulations.compare`."""
