"""Servers and clients for the tests: scripted faults, a sink to look into, Postfix, smtp-sink, aiosmtpd, swaks, curl."""
