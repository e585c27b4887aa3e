"""What theory says of WGANs, measured on the parts of `wgan`: a small file a claim."""
