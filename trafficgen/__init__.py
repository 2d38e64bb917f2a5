"""Weighted mail traffic at line speed, with every message accounted for."""

__version__ = "0.1.0"
