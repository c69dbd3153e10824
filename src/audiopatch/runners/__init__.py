"""Places where the stages of a run work: this machine, or a cluster."""
