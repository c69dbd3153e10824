"""Speed against quality on this machine: ``bench`` compares, ``estimate`` plans a run."""
