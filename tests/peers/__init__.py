"""Servers and clients for the tests: scripted faults, a sink to look into, and what other people wrote."""
