"""What the machine under us gives: processes and their pipes, signals, limits, which clock."""
