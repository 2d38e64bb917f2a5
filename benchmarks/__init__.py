"""Measurements: run by hand, side by side in one run, quoted as ratios. Nothing here is a test."""
