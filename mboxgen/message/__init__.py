"""One block of messages: headers, trace headers, MIME bodies to the octet, faults."""
