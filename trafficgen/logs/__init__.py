"""Logs of the server under test: what each line says, every message of a run followed through it, who used the
server."""
