"""One synthetic-data generator, trained across sites that cannot pool their data."""
