"""Further header fields: what clients, lists, filters and servers add to mail of a kind and time.

Takes     the name of a set, people; how many fields and octets a message has room for
Gives     for each message the first fields of its set, and one long field that fills up the octets wanted
Not here  Received (trace_headers), DKIM and ARC (signatures), the fields that every message has (headers)

The commonest fields come first, so that a header of few fields has those. Every set has several variants, which
differ in what the fields say. Tools and fields are those of the set's time.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

from mboxgen import streams
from mboxgen.columns import TextTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from mboxgen.text.people import People

VARIANTS = 16
_LINE_OCTETS = 72
_FOLDED = 78
_GROWTH = 1.04  # from one length of the long field to the next

# h host, d domain, l list, n number, x 16 hexadecimal digits, b 40 characters of base64, c a client.
_LIST_FIELDS = """Precedence: bulk
X-list: %(l)b
X-archive-position: %(n)d
X-ecartis-version: Ecartis v1.0.0
Sender: %(l)b-bounce@%(d)b
Errors-to: %(l)b-bounce@%(d)b
List-software: Ecartis version 1.0.0
List-post: <mailto:%(l)b@%(d)b>
List-owner: <mailto:owner-%(l)b@%(d)b>
X-original-sender: %(l)b-%(n)d@%(d)b
List-Id: %(l)b <%(l)b.%(d)b>
X-List-ID: %(l)b <%(l)b.%(d)b>
List-help: <mailto:ecartis@%(d)b?Subject=help>
List-archive: <http://www.%(d)b/archives/%(l)b/>
List-subscribe: <mailto:ecartis@%(d)b?subject=subscribe%%20%(l)b>
List-unsubscribe: <mailto:ecartis@%(d)b?subject=unsubscribe%%20%(l)b>
"""
_EXCHANGE_FIELDS = """X-MS-Has-Attach:
X-MS-TNEF-Correlator:
Accept-Language: en-US
Thread-Topic: note %(n)d
Thread-Index: %(b)b
X-ClientProxiedBy: %(h)b (192.0.2.%(n)d) To %(h)b
X-MS-PublicTrafficType: Email
x-ms-exchange-messagesentrepresentingtype: 1
X-MS-Office365-Filtering-Correlation-Id: %(x)b-%(x)b
x-microsoft-antispam: BCL:0;PCL:0;RULEID:(%(n)d)(%(n)d);SRVR:%(x)b;
x-ms-exchange-antispam-srfa-diagnostics: SSOS;
x-forefront-antispam-report: SFV:NSPM;SFS:(%(n)d)(%(n)d);DIR:OUT;SFP:1101;
x-ms-traffictypediagnostic: %(x)b:
X-Forefront-PRVS: %(x)b
received-spf: None (%(h)b: %(d)b does not designate permitted sender hosts)
SpamDiagnosticOutput: 1:99
SpamDiagnosticMetadata: NSPM
X-OriginatorOrg: %(d)b
X-MS-Exchange-CrossTenant-FromEntityHeader: Hosted
X-MS-Exchange-CrossTenant-Id: %(x)b-%(x)b
X-MS-Exchange-Transport-CrossTenantHeadersStamped: %(x)b
X-MS-Exchange-CrossTenant-Network-Message-Id: %(x)b-%(x)b
"""
_FILTER_FIELDS = """X-Spam-Status: No, score=-%(n)d.1 required=5.0 tests=BAYES_00,
\tSPF_PASS autolearn=ham version=3.4.1
X-Spam-Level:
X-Spam-Score: -%(n)d.1
X-Virus-Scanned: amavisd-new at %(d)b
X-Spam-Checker-Version: SpamAssassin 3.4.1 (2015-04-28) on %(h)b
X-Greylist: Sender passed SPF test, not delayed, %(h)b
X-Originating-IP: [192.0.2.%(n)d]
X-Virus-Status: Clean
X-Quarantine-ID: <%(x)b>
X-Policy-Version: %(n)d.%(n)d
"""
FIELD_SETS: Mapping[str, str] = {
    "list": _LIST_FIELDS + """User-Agent: Mutt/1.%(n)d (2017-07-15)
X-Gm-Message-State: %(b)b%(b)b
X-Google-Smtp-Source: %(b)b%(b)b
X-Mailer: git-send-email 2.%(n)d.1
X-Virus-Scanned: amavisd-new at %(d)b
X-BESS-ID: %(n)d-%(x)b-%(n)d
X-BESS-VER: 2017.%(n)d-r1709
X-BESS-Apparent-Source-IP: 192.0.2.%(n)d
X-BESS-Outbound-Spam-Score: 0.00
X-BESS-Outbound-Spam-Status: SCORE=0.00 using account:%(x)b
\tscores of KILL_LEVEL=7.0 tests=BSF_BESS_OUTBOUND
X-BESS-BRTS-Status: 1
X-Authority-Analysis: v=2.2 cv=%(b)b c=1 sm=1 tr=0
""" + _EXCHANGE_FIELDS + _FILTER_FIELDS.replace("X-Virus-Scanned: amavisd-new at %(d)b\n", ""),
    "list-archive": _LIST_FIELDS + """Importance: Normal
X-Spam-Level:
User-Agent: Mutt/1.%(n)di
X-Mailer: Client %(n)d.%(n)d
Organization: %(d)b
X-Accept-Language: en
X-Priority: 3 (Normal)
X-Virus-Scanned: by filter at %(d)b
X-Sender: %(l)b@%(d)b
X-Loop: %(l)b@%(d)b
X-Authentication-Warning: %(h)b: %(l)b owned process doing -bs
X-Operating-System: Linux %(h)b 2.4.%(n)d
X-Originating-IP: [192.0.2.%(n)d]
X-MSMail-Priority: Normal
X-MimeOLE: Produced By MimeOLE V5.%(n)d
X-Spam-Status: No, hits=-%(n)d.1 required=5.0
X-Filter-Version: %(n)d.%(n)d
X-Filter-Host: %(h)b
X-Filter-Id: %(x)b
X-Filter-Result: Clean, %(x)b
X-Greeting: %(b)b
X-Fingerprint: %(x)b%(x)b
X-Delivery-Id: %(x)b
X-Route: %(h)b, %(h)b
X-Queue: %(x)b
X-Account: %(n)d.%(n)d
X-Scan-Id: %(x)b.%(n)d
X-Scan-Result: %(n)d, none
X-Copy: %(l)b@%(d)b
X-Home: http://www.%(d)b/
""",
    "personal-2002": """X-Mailer: Client %(n)d.%(n)d
Precedence: bulk
X-Priority: 3 (Normal)
X-Spam-Level:
Importance: Normal
Delivered-To: %(l)b@%(d)b
Sender: %(l)b-admin@%(d)b
Errors-To: %(l)b-admin@%(d)b
X-Beenthere: %(l)b@%(d)b
X-Mailman-Version: 2.0.%(n)d
List-Help: <mailto:%(l)b-request@%(d)b?subject=help>
List-Post: <mailto:%(l)b@%(d)b>
List-Id: %(l)b <%(l)b.%(d)b>
List-Unsubscribe: <http://%(d)b/mailman/listinfo/%(l)b>
List-Archive: <http://%(d)b/pipermail/%(l)b/>
List-Subscribe: <http://%(d)b/mailman/listinfo/%(l)b>
X-Spam-Status: No, hits=-%(n)d.1 required=5.0
X-MSMail-Priority: Normal
X-MimeOLE: Produced By MimeOLE V6.00.2600.0000
Organization: %(d)b
X-Accept-Language: en
User-Agent: Mutt/1.4i
X-Loop: %(l)b@%(d)b
X-Virus-Scanned: by amavisd-milter
X-Sender: %(l)b@%(h)b
X-Originating-Ip: [192.0.2.%(n)d]
X-Authentication-Warning: %(h)b: %(l)b owned process doing -bs
X-Operating-System: Linux 2.4.%(n)d
X-Apparently-To: %(l)b@%(d)b
Mailing-List: contact %(l)b-help@%(d)b
X-Url: http://www.%(d)b/
X-Pgp-Fingerprint: %(x)b%(x)b
X-Keywords:
X-Original-Host: %(h)b
X-Habeas-Swe-1: winter into spring
X-Web-Page: http://%(h)b/
""",
    "newsletter-2002": """Reply-To: %(l)b@%(d)b
Delivered-To: %(l)b@%(d)b
X-Mailer: Sender %(n)d.%(n)d
Errors-To: %(l)b-errors@%(d)b
Precedence: bulk
List-Unsubscribe: <mailto:%(l)b-off@%(d)b>
X-Job: %(n)d-%(n)d
X-Campaign: %(x)b
X-Priority: 3
X-Spam-Status: No, hits=%(n)d.1 required=5.0
X-Spam-Level: *
Sender: %(l)b@%(h)b
X-Subscriber: %(n)d
X-Server: %(h)b
X-Version: %(n)d.%(n)d
X-Format: HTML
X-Issue: %(n)d
X-Customer: %(x)b
X-Copyright: %(d)b
X-Loop: %(l)b@%(d)b
X-Owner: %(l)b-owner@%(d)b
X-Bounce-Key: %(x)b
X-Segment: %(n)d
X-Home: http://www.%(d)b/
X-Report-Abuse: abuse@%(d)b
Importance: Normal
Organization: %(d)b
""",
    "spam": """X-Priority: 1
X-Mailer: Client %(n)d.%(n)d
X-MSMail-Priority: High
X-Status:
X-Keywords:
Importance: Normal
X-Encoding: MIME
Reply-To: %(l)b@%(d)b
Errors-To: %(l)b@%(d)b
X-MimeOLE: Produced By MimeOLE V5.50.4522.1200
Delivered-To: %(l)b@%(d)b
X-Sender: %(l)b@%(h)b
Sender: %(l)b@%(d)b
X-Originating-Ip: [192.0.2.%(n)d]
X-Mailid: %(n)d
X-Campaign: %(x)b
X-Precedence-Ref: %(x)b
Organization: %(d)b
X-Server: %(h)b
X-Stormpost-To: %(l)b@%(d)b
X-Complaints: abuse@%(d)b
X-List-Host: <%(h)b>
X-Key: %(x)b
X-Count: %(n)d
X-Source: %(h)b
X-Unsub: http://%(d)b/off
""",
    "personal": """User-Agent: Mozilla Thunderbird
Content-Language: en-US
X-Gm-Message-State: %(b)b%(b)b
X-Google-Smtp-Source: %(b)b%(b)b
X-Spamd-Result: default: False [-%(n)d.1 / 15.00];
\tR_SPF_ALLOW(-0.2)[+ip4:192.0.2.%(n)d]; ASN(0.0)[asn:%(n)d]
X-Rspamd-Server: %(h)b
X-Rspamd-Action: no action
X-Rspamd-Queue-Id: %(x)b
X-Mailer: Mail %(n)d.%(n)d
""" + _FILTER_FIELDS + _EXCHANGE_FIELDS,
    "newsletter": """List-Unsubscribe: <https://%(d)b/u/%(x)b%(x)b>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
List-Id: <%(l)b.%(d)b>
Feedback-ID: %(n)d:%(x)b:%(l)b
Reply-To: %(l)b@%(d)b
X-Mailer: Sender %(n)d.%(n)d
Precedence: bulk
X-Campaign-ID: %(x)b
X-Subscriber-ID: %(x)b
X-Report-Abuse: <https://%(d)b/abuse/%(x)b>
X-CSA-Complaints: abuse@%(d)b
Auto-Submitted: auto-generated
X-Entity-ID: %(b)b%(b)b
X-Batch: %(n)d
X-Segment: %(x)b
X-Virtual-MTA: pool-%(n)d
X-Template: %(n)d
X-Track: %(b)b
""" + _FILTER_FIELDS,
    "corporate": _EXCHANGE_FIELDS + """Content-Language: en-US
X-Mailer: Client %(n)d.0
X-Classification: internal
X-Journal-Id: %(x)b%(x)b
X-Gateway: %(h)b
X-Disclaimer: applied
X-Retention: %(n)d
""" + _FILTER_FIELDS,
}  # fmt: skip
_LONG_FIELDS = {
    "list": b"X-Microsoft-Exchange-Diagnostics", "list-archive": b"X-Spam-Report", "personal-2002": b"X-Spam-Report",
    "newsletter-2002": b"X-Tracking", "spam": b"X-Tracking", "personal": b"X-MS-Exchange-AntiSpam-MessageData-0",
    "newsletter": b"X-Tracking", "corporate": b"X-MS-Exchange-AntiSpam-MessageData-0",
}  # fmt: skip


class ExtraFields:
    """The fields of a set, of at most `max_octets` octets."""

    def __init__(self, seed: int, name: str, people: People, max_octets: int) -> None:
        forms = fields_of(FIELD_SETS[name])
        written, ends = [], []
        for variant in range(VARIANTS):
            draws = iter(streams.raw(seed, f"extras {name}", variant, 8 * (len(forms) + 1)).tolist())
            domain = people.hosts[next(draws) % len(people.hosts)].partition(b".")[2]
            values = {b"d": domain, b"l": b"%b-%d" % (domain.partition(b"-")[0], next(draws) % 90)}
            fields = []
            for form in forms:
                words = [next(draws) for _ in range(6)]
                values |= {
                    b"h": people.hosts[words[0] % len(people.hosts)], b"n": words[1] % 250 + 1,
                    b"x": b"%016x" % words[2], b"b": _base64(words[2:6]),
                }  # fmt: skip
                fields.append(_folded(form % values))
            together = b"".join(fields)
            cuts = np.cumsum([0] + [len(field) for field in fields])
            written += [together[:end] for end in cuts.tolist()]
            ends.append(cuts)
        self._first = TextTable(written)
        self._ends = np.array(ends)
        self._long = TextTable([b"", *_long_fields(seed, _LONG_FIELDS[name], max_octets)])

    def within(
        self, variants: NDArray[np.int64], fields: NDArray[np.int64], octets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Choose fields, at most so many and so long: places for `first`, places for `long`, octets of both."""
        room, octets = self._ends[variants], np.maximum(octets, 0)
        rest = np.clip(fields - 1, 0, room.shape[1] - 1)  # the long one is one of them
        chosen = np.minimum((room <= octets[:, None]).sum(axis=1) - 1, rest)
        used = np.take_along_axis(room, chosen[:, None], axis=1)[:, 0]
        left = np.where(fields > 0, octets - used, 0)
        long = np.searchsorted(self._long.octets, left, side="right") - 1
        return variants * room.shape[1] + chosen, long, used + self._long.octets[long]

    def first(self, places: NDArray[np.int64]) -> Iterable[bytes]:
        """Give the first fields of messages."""
        return self._first.pick(places)

    def long(self, places: NDArray[np.int64]) -> Iterable[bytes]:
        """Give the long fields of messages."""
        return self._long.pick(places)


def fields_of(text: str) -> list[bytes]:
    """Give the fields of a set one by one, folded ones whole."""
    return [field.replace("\n", "\r\n").encode() + b"\r\n" for field in _unfolded(text)]


def _unfolded(text: str) -> list[str]:
    return text.rstrip("\n").replace("\n\t", "\0").replace("\n", "\1").replace("\0", "\n\t").split("\1")


def _folded(field: bytes) -> bytes:
    """Fold lines above 78 at their spaces, where they have some."""
    folded = []
    for line in field.split(b"\r\n"):
        while len(line) > _FOLDED and (at := line.rfind(b" ", len(line.partition(b":")[0]) + 1, _FOLDED)) > 0:
            folded.append(line[:at])
            line = b"\t" + line[at + 1 :]
        folded.append(line)
    return b"\r\n".join(folded)


def _base64(words: list[int]) -> bytes:
    return base64.b64encode(b"".join(word.to_bytes(8, "little") for word in words)[:30])


def _long_fields(seed: int, name: bytes, max_octets: int) -> list[bytes]:
    """Give one field at many lengths up to `max_octets`: base64 in folded lines, as filters write their findings."""
    raw = streams.raw(seed, "long field", 0, max_octets // 8 + 8).astype("<u8").tobytes()
    text = base64.b64encode(raw)
    made, aim = [], 60.0
    while aim <= max_octets:
        kept = text[: int(aim)]
        lines = [kept[at : at + _LINE_OCTETS] for at in range(0, len(kept), _LINE_OCTETS)]
        made.append(name + b":\r\n\t" + b"\r\n\t".join(lines) + b"\r\n")
        aim = max(aim * _GROWTH, aim + 8)
    return made
