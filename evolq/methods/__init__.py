"""The optimizers: one file each; found through the entry points ``landscape.optimizers``."""
