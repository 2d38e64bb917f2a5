"""What can be known of the server under test from its processes: CPU, octets written, flushes."""
