"""Everything on one machine: the command line, Ray, presets, the built-in table."""
