"""The mbox format both ways: reader, scan, index, writer, and what a file holds."""
