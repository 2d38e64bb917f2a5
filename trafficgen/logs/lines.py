"""A line of any server's log to what it says: finds out who wrote it, and when.

Takes     a line: RFC 3164 or RFC 3339 syslog, Dovecot's own log file, Exim's main log, `journalctl -o json`, kumod's
          JSON
Gives     when, whether the zone was said, and the records in it; or that it is another program's, or not understood
Fails     never
Not here  opening files (files), what the text says (postfix, dovecot, exim, kumod)

A tag is `name/service/program[pid]`, where the name may be an instance's (`postfix-lab`) and the service is left out as
a rule: the program is what stands last.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from trafficgen.clock import NS_PER_S
from trafficgen.logs import dovecot, exim, kumod, postfix
from trafficgen.logs.records import LinesLost, Noted, Record
from trafficgen.logs.stamps import PLAIN_OCTETS, RFC3164_OCTETS, Stamps, fraction_ns, zone_ns

Parser = Callable[[bytes], Record | None]


class LogLine(NamedTuple):
    """`records` is empty for a line of a program that is no mail server's, and None for one that is not understood."""

    at_ns: int
    zoned: bool
    records: tuple[Record, ...] | None


_REST_OF_STAMP: Final = re.compile(rb"(?:[.,](\d+))?(?: ?(Z|[+-]\d\d:?\d\d))? ").match
_LOST: Final = re.compile(
    rb"(?:Suppressed (\d+) messages from .*|.*?(\d+) messages lost due to rate-limit.*|"
    rb"imuxsock begins to drop messages.*|imuxsock lost (\d+) messages from .*|Missed (\d+) .*messages.*)",
    re.DOTALL,
).fullmatch
_KEEPER: Final = Noted("the log's keeper")
_FOREIGN: Final[tuple[Record, ...]] = ()


def _keeper(text: bytes) -> Record:
    """journald and rsyslog about themselves."""
    if found := _LOST(text):
        return LinesLost(int(next((number for number in found.groups() if number), 0)), text)
    return _KEEPER


_BY_TAG: Final[dict[bytes, Parser]] = {
    b"dovecot": dovecot.parse,
    b"exim": exim.parse,
    b"exim4": exim.parse,
    b"systemd-journald": _keeper,
    b"systemd-journal": _keeper,
    b"rsyslogd": _keeper,
    b"journal": _keeper,
    b"imjournal": _keeper,
}


class _JournalEntry(msgspec.Struct):
    """The fields of journalctl(1)'s JSON that are looked at: numbers are texts, what is no UTF-8 is a list of
    octets."""

    at: str | None = msgspec.field(name="__REALTIME_TIMESTAMP", default=None)
    said_at: str | None = msgspec.field(name="_SOURCE_REALTIME_TIMESTAMP", default=None)
    tag: str | list[str] | None = msgspec.field(name="SYSLOG_IDENTIFIER", default=None)
    message: str | list[int | str] | None = msgspec.field(name="MESSAGE", default=None)


_JOURNAL: Final = msgspec.json.Decoder(_JournalEntry).decode


class LineReader:
    """Reads lines one after the other."""

    def __init__(self, near_ns: int) -> None:
        """`near_ns`: a time near that of the lines, for stamps without a year."""
        self._stamps = Stamps(near_ns)
        self._parsers: dict[bytes, Parser | None] = {}

    def read(self, line: bytes) -> LogLine | None:
        """What it says; None when not even its head is understood."""
        if line[3:4] == b" " and (at_ns := self._stamps.rfc3164(line[:RFC3164_OCTETS])) is not None:
            # An own loop for the usual case would save a tenth: not worth a second way to read a line.
            return self._syslog(at_ns, False, line[RFC3164_OCTETS + 1 :])
        if line[:1] == b"{":
            return self._json(line)
        return self._iso(line)

    def _iso(self, line: bytes) -> LogLine | None:
        at_ns = self._stamps.plain(line[:PLAIN_OCTETS])
        found = _REST_OF_STAMP(line, PLAIN_OCTETS) if at_ns is not None else None
        if found is None or at_ns is None:
            return None
        at_ns += fraction_ns(found[1] or b"")
        zone = zone_ns(found[2]) if found[2] else None
        if found[2] and zone is None:
            return None
        at_ns -= zone or 0
        zoned = zone is not None
        rest = line[found.end() :]
        if line[10:11] == b"T":
            return self._syslog(at_ns, zoned, rest)
        # Dovecot's own file and Exim's have a blank there and no host.
        record = dovecot.parse(rest)
        return LogLine(at_ns, zoned, _one(record if record is not None else exim.parse(rest)))

    def _syslog(self, at_ns: int, zoned: bool, rest: bytes) -> LogLine:
        host, _, tagged = rest.partition(b" ")
        tag, colon, text = tagged.partition(b": ")
        if host[-1:] == b":" or not colon:
            # Dovecot's own file with the stamp that is its default: no host, and the service comes first.
            return LogLine(at_ns, zoned, _one(dovecot.parse(rest)))
        name = tag.partition(b"[")[0]
        try:
            parser = self._parsers[name]
        except KeyError:
            if len(self._parsers) > 10_000:
                self._parsers.clear()
            parser = self._parsers[name] = _parser_of(name)
        if parser is None:
            return LogLine(at_ns, zoned, _FOREIGN)
        record = parser(text)
        return LogLine(at_ns, zoned, None if record is None else (record,))

    def _json(self, line: bytes) -> LogLine | None:
        try:
            entry = _JOURNAL(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if entry.at is None:
            found = kumod.parse(line)
            return LogLine(found[0], True, found[1]) if found else None
        stamp = entry.said_at or entry.at
        if not stamp.isdecimal() or len(stamp) > 18:
            return None
        tag = entry.tag[0] if isinstance(entry.tag, list) and entry.tag else entry.tag
        parser = _parser_of(tag.encode() if isinstance(tag, str) else b"")
        at_ns = int(stamp) * 1000
        if parser is None:
            return LogLine(at_ns, True, _FOREIGN)
        return LogLine(at_ns, True, _one(parser(_message(entry.message))))


def _message(value: str | list[int | str] | None) -> bytes:
    """journalctl(1): null for what is too long, a list of octets for what is no UTF-8, a list for repeated fields."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    octets = [octet for octet in value or () if isinstance(octet, int) and 0 <= octet < 256]
    texts = [text for text in value or () if isinstance(text, str)]
    return texts[0].encode("utf-8", "surrogatepass") if texts else bytes(octets)


def _parser_of(name: bytes) -> Parser | None:
    program = name.rpartition(b"/")[2]
    if b"/" in name and program in postfix.PARSERS:
        return postfix.PARSERS[program]
    return _BY_TAG.get(name)


def _one(record: Record | None) -> tuple[Record, ...] | None:
    return None if record is None else (record,)


def moment(at_ns: int) -> str:
    """For people: to the second, as the log has it."""
    return datetime.fromtimestamp(at_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")
