"""What a user may write, and how it becomes parts.

- `sections`, `federation`, `settings`: every key, its type, default and meaning.
- `strategies`: known methods as choices of keys.
- `compatibility`: what does not go together.
- `recipe`: networks, penalties and optimizers of the engine.
- `files`: TOML in and out.
"""
