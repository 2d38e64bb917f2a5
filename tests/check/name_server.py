"""A DNS server on a free loopback port that knows what it is told."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Zone = Mapping[tuple[str, str], str | list[str]]
"""Name and type → records as a zone file has them; "SERVFAIL" for a server that cannot tell."""


@contextmanager
def name_server(zone: Zone, *, verified: bool = False) -> Iterator[int]:
    """Its port. `verified`: it says of every answer that DNSSEC covers it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    names = {name for name, _ in zone}

    def serve() -> None:
        while True:
            octets, peer = listener.recvfrom(4096)
            if not octets:
                return
            query = dns.message.from_wire(octets)
            asked = query.question[0]
            name, kind = asked.name.to_text().rstrip(".").lower(), dns.rdatatype.to_text(asked.rdtype)
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.RA | (dns.flags.AD if verified else dns.flags.Flag(0))
            found = zone.get((name, kind), [])
            if found == "SERVFAIL":
                answer.set_rcode(dns.rcode.SERVFAIL)
            elif found:
                texts = [found] if isinstance(found, str) else found
                answer.answer.append(dns.rrset.from_text_list(asked.name, 60, "IN", kind, texts))
            elif name not in names:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            listener.sendto(answer.to_wire(), peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.sendto(b"", listener.getsockname())
        thread.join(20)
        listener.close()
