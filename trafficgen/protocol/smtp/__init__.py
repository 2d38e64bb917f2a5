"""The wire: replies, client transactions, server sessions. Pure: no socket, no clock, no await.

Bytes and the time they came go in, bytes to write come out. Nothing here raises on what a peer sent.
"""
