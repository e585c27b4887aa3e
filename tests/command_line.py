"""The command line in this process."""

import sys
from collections.abc import Callable
from unittest.mock import patch

import everymode.simulations.cli

Call = Callable[..., tuple[int, str, str]]
"""Runs `everymode ...`; gives exit code, stdout, stderr."""


def run_command(*arguments: object) -> int:
    """Runs `everymode ...`; returns its exit code."""
    with patch.object(sys, "argv", ["everymode", *map(str, arguments)]):
        try:
            everymode.simulations.cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0
