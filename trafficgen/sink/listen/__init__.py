"""Sockets, processes and the life of a connection of the sink."""
