"""Mail corpora of exact sizes, the same bytes for the same seed."""
