"""Images: (channels, height, width) in [-1, 1], grey or colour. Each facet is a module."""
