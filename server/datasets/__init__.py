"""What a run makes, whatever its sites' files hold.

- `base`: the protocol that a modality meets, and synthetic rows.
- `tables`: a table.
- `arrays`: samples and their labels.
- `choice`: which modality a plan is of.

A further modality takes a dataset (`clients.datasets`), a codec (`wgan.data`), a modality here, and
a network (`server.config.recipe`); `choice` here and at the sites each get a line.
"""
