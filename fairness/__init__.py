"""Groups, their weights, what is matched, measured, mended and audited of each."""
