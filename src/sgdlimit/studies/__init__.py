"""Studies: the paper's experiments, and where they end."""
