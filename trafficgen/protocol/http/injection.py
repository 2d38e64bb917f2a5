"""KumoMTA's `POST /api/inject/v1`: what a request's body says, and what the answer means.

Takes     a message that is laid out as it is delivered: its envelope is sender and recipients, a line each; the body
          of an answer
Gives     JSON octets; how many recipients were taken and how many refused
Fails     UnicodeDecodeError for a message that is not UTF-8, which JSON cannot carry; ValueError for an answer that
          does not say what became of every recipient
Source    https://docs.kumomta.com/reference/http/kumod/api_inject_v1_post

Content goes as it is: `template_dialect` "Static", or a "{{" in a body would be taken for a template.
"""

from typing import Final, NamedTuple

import msgspec

from mboxgen.counted import number_of
from trafficgen.protocol.smtp.interfaces import WireMessage

KIND: Final = b"application/json"

_SHOWN: Final = 100


class _InjectionAnswer(msgspec.Struct):
    """Keys that are not known here are passed over: servers add some."""

    success_count: int
    fail_count: int
    failed_recipients: list[str] = []
    errors: list[str] = []


class Taken(NamedTuple):
    """What became of the recipients of a request; `error`: of the first refused one, as the server puts it."""

    accepted: int
    refused: int
    error: str


def request_body(message: WireMessage, *, defer_spool: bool, defer_generation: bool) -> bytes:
    """The JSON of one request."""
    sender, *recipients = message.envelope.decode("utf-8").split("\n")
    content = b"".join((message.head, message.body, message.tail)).decode("utf-8")
    request: dict[str, object] = {
        "envelope_sender": sender,
        "recipients": [{"email": recipient} for recipient in recipients],
        "content": content,
        "template_dialect": "Static",
    }
    if defer_spool:
        request["deferred_spool"] = True
    if defer_generation:
        request["deferred_generation"] = True
    return _encode(request)


def read_answer(body: bytes, recipients: int, *, deferred: bool) -> Taken:
    """What a 200 says about the recipients of its request.

    `deferred`: generation was put off: no success is counted yet, and the 200 stands for all that is not refused.
    """
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as reason:
        shown = " ".join(body[:_SHOWN].decode("ascii", "backslashreplace").split())
        words = str(reason).replace("`", "")
        raise ValueError(f'expected JSON with success_count and fail_count, got "{shown}": {words}') from None
    refused, accepted = answer.fail_count, answer.success_count
    if deferred and not accepted:
        accepted = recipients - refused
    if min(refused, accepted) < 0 or refused + accepted != recipients:
        text = f"success_count {answer.success_count} and fail_count {answer.fail_count}"
        raise ValueError(f"expected an answer for {number_of(recipients, 'recipient')}, got {text}")
    error = answer.errors[0] if answer.errors else ", ".join(answer.failed_recipients[:1])
    return Taken(accepted, refused, error[: 2 * _SHOWN])


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_InjectionAnswer).decode
