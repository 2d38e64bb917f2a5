"""The wire: pure protocol logic, octets and a time in, buffers and finished steps out."""
