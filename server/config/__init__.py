"""What a user may write, and how it becomes parts.

- `sections`, `federation`, `settings`: every key, its type, default and meaning.
- `strategies`: known methods as choices of keys.
- `compatibility`: what does not go together.
- `recipe`: networks, penalties and optimizers of the engine.
- `training`: the parts of a federation.
- `tables`: what is wanted of the tables.
- `files`: TOML in and out.
"""
