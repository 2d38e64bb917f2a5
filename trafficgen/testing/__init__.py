"""A mail server for tests of programs that send mail: in the test's own process, on a free port of loopback.

With pytest, the fixture `mail_sink` is there as soon as this package is installed:

    import smtplib

    def test_the_receipt_is_mailed(mail_sink):
        with smtplib.SMTP(mail_sink.host, mail_sink.port) as client:
            client.sendmail("shop@example.com", ["ann@example.com"], "Subject: Your receipt\\r\\n\\r\\nThanks!\\r\\n")
        (mail,) = mail_sink.wait_for(1)
        assert mail.recipients == ("ann@example.com",)
        assert mail.subject == "Your receipt"

Anywhere else, `MailSink` is a context manager:

>>> import smtplib
>>> from trafficgen.testing import MailSink
>>> with MailSink() as sink, smtplib.SMTP(sink.host, sink.port) as client:
...     _ = client.sendmail("shop@example.com", ["ann@example.com"], "Subject: Your receipt\\r\\n\\r\\nThanks!\\r\\n")
...     (mail,) = sink.wait_for(1)
>>> mail.sender, mail.recipients, mail.subject, mail.body
('shop@example.com', ('ann@example.com',), 'Your receipt', 'Thanks!\\n')

It relays nothing, looks no name up, starts no process and writes no file.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trafficgen.testing.mail_sink import MailNotReceivedError as MailNotReceivedError
    from trafficgen.testing.mail_sink import MailSink as MailSink
    from trafficgen.testing.received_mail import ReceivedMail as ReceivedMail

_HOME_OF: Final = {
    "MailNotReceivedError": "trafficgen.testing.mail_sink",
    "MailSink": "trafficgen.testing.mail_sink",
    "ReceivedMail": "trafficgen.testing.received_mail",
}
"""Imported on first use: pytest loads its plugin in this package whatever it tests."""

__all__ = [*_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME_OF[name]), name)
