#!/bin/sh
# Everything that must hold before a change lands: lint, format, types, tests with doctests, the
# bundle for Flower, and real simulations through Flower and Ray (in tests/test_end_to_end.py).
#
#   sh tests/all.sh              # two workers
#   sh tests/all.sh --nightly    # with the full products of parameters, too
#
# Arguments are passed to pytest. For a check of minutes: python -m pytest -n 2 -m "not slow"
set -eu
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
types=$(mktemp)
mypy > "$types" 2>&1 &
mypy=$!
trap 'kill "$mypy" 2> /dev/null || :; rm -f "$types"' EXIT
failed=0
# tests/conftest.py says which tests stay together, and puts long ones first.
python -m pytest -n 2 "$@" || failed=$?
wait "$mypy" || failed=$?
cat "$types"
exit "$failed"
