"""Tests of `simulations.claims`."""
