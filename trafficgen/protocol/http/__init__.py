"""Injection by HTTP, the client's side of it: requests, and what became of each recipient."""
