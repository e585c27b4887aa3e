"""What a run makes, whatever its sites' files hold.

- `base`: the protocol that a modality meets, and synthetic rows.
- `tables`: a table.
- `arrays`: samples and their labels.
- `choice`: which modality a plan is of.
"""
