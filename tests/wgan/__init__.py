"""Tests of `wgan`."""
