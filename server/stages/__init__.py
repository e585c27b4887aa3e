"""The stages of a run: `agree`, `encode`, `train`, `postprocess`, `sample`, `evaluate`, `write`.

Each is a function from the frozen results of the stages before it to a frozen result of its own;
`server.session.Session` calls them in order. `context` is what all of them share: configuration,
run directory, exchange and listener.
"""
