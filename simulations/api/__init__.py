"""The Python interface, which `everymode` exports: models, audits, the built-in table."""
