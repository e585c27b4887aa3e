"""`everymode compare`: the same data, seeds and budget under several strategies."""
