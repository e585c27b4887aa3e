"""What a run makes, whatever its sites' files hold.

- `base`: the protocol that a modality meets, and synthetic rows.
- `tables`: a table.
- `choice`: which modality a plan is of.
"""
