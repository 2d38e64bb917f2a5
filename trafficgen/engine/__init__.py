"""How messages get from the workload to the target: addresses, sessions, workers, processes."""
