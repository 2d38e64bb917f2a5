"""One run from a plan to its results, its monitor, and what this machine is capable of."""
