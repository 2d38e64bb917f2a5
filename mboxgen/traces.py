"""Trace fields: what servers on the way put before a message's own header.

Takes     people, the number of octets that a trace should have
Gives     Received, DKIM, ARC and list fields of many lengths, built once per seed
Not here  the other fields (headers), who writes to whom (blocks)

There are at most 20 Received fields: Postfix stops at 50, sendmail at 25. Every time in a message lies in the minute of
its Date, so a trace is built once and gets its minute when it is used. DKIM and ARC fields have the right shape and
length; their signatures are noise and verify nowhere.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams
from mboxgen.people import gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from mboxgen.people import People

TRACES = 384
MAX_RECEIVED = 20
_Values = tuple[bytes, ...]
_Choice = Callable[[_Values], _Values]
_PLACE = re.compile(rb"%\((.)\)[bd]")
_KEYS = b"deir"  # minute, second of the epoch, identity, recipient
_MINUTE_OCTETS = len(b"Fri, 21 Nov 2025 22:55")


@lru_cache(maxsize=4)
def traces_of(seed: int, locales: str, list_mail: bool, most: int) -> Traces:
    """Give the traces of a seed, of at most `most` octets; the same ones again while they are remembered."""
    return Traces(seed, gather(seed, locales), list_mail, most)


class Traces:
    """Trace fields of many lengths, each with the longest it can become."""

    def __init__(self, seed: int, people: People, list_mail: bool, most: int) -> None:
        longest = max(len(person.address) for person in people.persons)
        filled = (b"-" * _MINUTE_OCTETS, b"0" * 10, b"0" * 10, b"r" * longest)
        # By place and not by name: a third less to do for each message.
        forms: list[tuple[bytes, _Choice]] = [
            (_PLACE.sub(b"%b", template), itemgetter(*map(_KEYS.index, _PLACE.findall(template))))
            for template in built(seed, people, list_mail, most)
        ]
        forms.sort(key=lambda form: len(form[0] % form[1](filled)))
        self._forms = forms
        self._octets = np.array([len(text % chosen(filled)) for text, chosen in forms])

    def within(
        self, octets: NDArray[np.int64], values: Callable[[NDArray[np.int64]], Iterable[_Values]]
    ) -> list[bytes]:
        """Give for each message the longest trace of at most `octets` octets, empty when none is so short.

        Asked for some messages, `values` gives of each its minute, second of the epoch, identity and recipient.
        """
        traces = [b""] * len(octets)
        numbers = np.searchsorted(self._octets, octets, side="right")
        traced = np.flatnonzero(numbers)
        forms = map(self._forms.__getitem__, (numbers[traced] - 1).tolist())
        for at, (text, chosen), value in zip(traced.tolist(), forms, values(traced), strict=True):
            traces[at] = text % chosen(value)
        return traces


def built(seed: int, people: People, list_mail: bool, most: int) -> list[bytes]:
    """Build trace fields (Received, DKIM, ARC, list fields), from about 200 to 12,000 octets, those up to `most`.

    Each is a template for `%` with the keys d (minute), e (second of the epoch), i (identity) and r (recipient).
    """
    made = []
    for number in range(TRACES):
        aim = 200 * 60 ** (number / TRACES)
        if aim > most:
            break
        draws = itertools.cycle(streams.raw(seed, "traces", number, 128).tolist())
        made.append(_trace(draws, people, list_mail, aim))
    return made


def _trace(draws: Iterator[int], people: People, list_mail: bool, aim: float) -> bytes:
    hosts = people.hosts
    path = [hosts[next(draws) % len(hosts)] for _ in range(MAX_RECEIVED + 1)]
    fields: list[bytes] = []
    length = 0
    makers = [_received] * 3 + [_dkim, _results] + ([_list] if list_mail else []) + [_received] * 2 + [_arc, _extra]
    hops = 0
    for step in range(64):
        maker = makers[step] if step < len(makers) else (_received, _extra, _extra)[step % 3]
        if maker is _received:
            hops += 1
            if hops > MAX_RECEIVED:
                continue
        field = maker(draws, path, hops)
        if fields and length + len(field) > aim:
            break
        fields.append(field)
        length += len(field)
    received = [field for field in fields if field.startswith(b"Received")]
    return b"".join(received + [field for field in fields if not field.startswith(b"Received")])


def _received(draws: Iterator[int], path: list[bytes], hop: int) -> bytes:
    """One hop; the newest is first and has the latest second."""
    here, there, number = path[hop - 1], path[hop], next(draws)
    address = b"%d.%d.%d.%d" % (192, 0, 2, number % 254 + 1)  # 192.0.2.0/24 is for documentation (RFC 5737)
    second = max(48 - 2 * hop, 8)
    return (
        b"Received: from %b (%b [%b])\r\n\tby %b (Postfix) with ESMTPS id %%(i)b%02x\r\n"
        b"\tfor <%%(r)b>; %%(d)b:%02d +0000 (UTC)\r\n"
    ) % (there, there, address, here, number >> 8 & 0xFF, second)


def _noise(draws: Iterator[int], octets: int) -> bytes:
    """Give base64 noise, folded as header text."""
    raw = b"".join(next(draws).to_bytes(8, "little") for _ in range(4))
    text = base64.b64encode((raw * (octets // 24 + 1))[: octets * 3 // 4])
    return b"\r\n\t ".join(text[at : at + 68] for at in range(0, len(text), 68))


def _dkim(draws: Iterator[int], path: list[bytes], _: int) -> bytes:
    domain = path[-1].partition(b".")[2]
    return (
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=%b;\r\n\ts=s%d; t=%%(e)d;\r\n"
        b"\th=from:to:subject:date:message-id:mime-version:content-type;\r\n\tbh=%b=;\r\n\tb=%b==\r\n"
    ) % (domain, next(draws) % 900 + 100, _noise(draws, 43), _noise(draws, 342))


def _results(_: Iterator[int], path: list[bytes], __: int) -> bytes:
    domain = path[-1].partition(b".")[2]
    return (b"Authentication-Results: %b;\r\n\tdkim=pass header.d=%b;\r\n\tspf=pass smtp.mailfrom=%b\r\n") % (
        path[0],
        domain,
        domain,
    )


def _arc(draws: Iterator[int], path: list[bytes], _: int) -> bytes:
    return (
        b"ARC-Seal: i=1; a=rsa-sha256; t=%%(e)d; cv=none; d=%b; s=arc;\r\n\tb=%b==\r\n"
    ) % (path[1].partition(b".")[2], _noise(draws, 342))  # fmt: skip


def _list(draws: Iterator[int], path: list[bytes], _: int) -> bytes:
    domain = path[0].partition(b".")[2]
    name = b"list%d" % (next(draws) % 90)
    return (
        b"Precedence: list\r\nList-Id: <%b.%b>\r\nList-Post: <mailto:%b@%b>\r\n"
        b"List-Unsubscribe: <mailto:%b-leave@%b>\r\n"
    ) % (name, domain, name, domain, name, domain)


def _extra(draws: Iterator[int], _: list[bytes], __: int) -> bytes:
    """A field of a filter or a client, as they make up a third of today's headers."""
    number = next(draws)
    names = (b"X-Spam-Status", b"X-Mailer-Trace", b"X-Envelope-Check", b"X-Policy", b"X-Route")
    return b"%b: No, score=-%d.%d tests=%d,\r\n\t%b\r\n" % (
        names[number % 5], number >> 4 & 7, number >> 8 & 7, number >> 12 & 0xFFF, _noise(draws, 60 + number % 120),
    )  # fmt: skip
