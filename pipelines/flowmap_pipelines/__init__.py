"""What runs where the pipeline is started: a laptop, CI, a notebook."""
