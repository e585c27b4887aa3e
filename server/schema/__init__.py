"""What server and sites agree on before training.

- `table_spec`: what is wanted.
- `agreement`: the exchanges in which a schema is settled.
- `drafts`: kinds and forms of columns; `bins`, `categories`, `codes`: their values.
- `cells`: group, label and their weights.
- `clusters`: latent clusters.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.schema.agreement import Agreement, agree, check_names
    from everymode.server.schema.cells import LABEL_CLASSES, SENSITIVE_VALUES
    from everymode.server.schema.table_spec import DeclaredColumn, TableSpec
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.schema.agreement": ("Agreement", "agree", "check_names"),
            "everymode.server.schema.cells": ("LABEL_CLASSES", "SENSITIVE_VALUES"),
            "everymode.server.schema.table_spec": ("DeclaredColumn", "TableSpec"),
        },
    )

__all__ = [
    "LABEL_CLASSES",
    "SENSITIVE_VALUES",
    "Agreement",
    "DeclaredColumn",
    "TableSpec",
    "agree",
    "check_names",
]
