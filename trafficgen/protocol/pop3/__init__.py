"""POP3 as a client: RFC 1939, CAPA and response codes (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034)."""
