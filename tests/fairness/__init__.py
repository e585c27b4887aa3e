"""Tests of `fairness`."""
