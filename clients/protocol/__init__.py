"""What server and sites say to each other, fixed before it is said.

- `messages`, `schema_messages`: every request, with the layout of its answer.
- `sums`: additive vectors with named fields, as exact integers.
- `sketch`: sums that a vocabulary is read from.
- `plan`: what was agreed on before training.
- `wire`: Flower's messages.
"""
