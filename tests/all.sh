#!/bin/sh
# Everything that must hold before a change lands: lint, format, types, tests with doctests, the
# bundle for Flower, and one real simulation through Flower and Ray (in tests/test_end_to_end.py).
set -eu
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
mypy
python -m pytest
