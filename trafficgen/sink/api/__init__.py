"""The sink's HTTP API."""
