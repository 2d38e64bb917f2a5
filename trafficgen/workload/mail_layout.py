"""How messages are to lie in memory, as whoever hands them over wants it.

Gives     `MailLayout`, what workload asks for; `AS_DELIVERED`, for who wants addresses and content and no protocol
Not here  how a protocol lays them out: the engine hands that in (protocol/smtp/layout)
"""

from typing import Final, Protocol


class MailLayout(Protocol):
    """The octets around addresses and content.

    An envelope is `sender`, the sender's address, `after_sender`; `numbered` and the message's number, unless it is
    empty; `international`, if its addresses are; `first_recipient`, the first address, `recipient`, …, the last
    address, `end_of_addresses`; then what `envelopes` adds. Content is followed by `end_of_data`.
    """

    @property
    def sender(self) -> bytes: ...
    @property
    def after_sender(self) -> bytes: ...
    @property
    def numbered(self) -> bytes: ...
    @property
    def international(self) -> bytes: ...
    @property
    def first_recipient(self) -> bytes: ...
    @property
    def recipient(self) -> bytes: ...
    @property
    def end_of_addresses(self) -> bytes: ...
    @property
    def end_of_data(self) -> bytes: ...
    @property
    def stuffed(self) -> bool:
        """Whether content with leading dots is not as it is delivered."""

    def content(self, canonical: bytes) -> bytes:
        """`canonical`, CRLF line ends and from the beginning of a line, as it is handed over."""

    def envelopes(self, envelopes: list[bytes], octets: list[int], eight_bit: list[bool]) -> list[bytes]:
        """Whole envelopes, of messages of so many octets, some of them above 0x7F."""


class _AsDelivered:
    sender = after_sender = numbered = international = end_of_addresses = end_of_data = b""
    first_recipient = recipient = b"\n"
    stuffed = False

    def content(self, canonical: bytes) -> bytes:
        return canonical

    def envelopes(self, envelopes: list[bytes], octets: list[int], eight_bit: list[bool]) -> list[bytes]:
        return envelopes


AS_DELIVERED: Final = _AsDelivered()
"""An envelope is the sender and the recipients, a line each; content is as it will be delivered."""
