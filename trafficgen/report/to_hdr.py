"""Latencies for HdrHistogram's tools: its log format, version 1.3, with V2 encoded histograms.

Takes     `Results`
Gives     text that HistogramLogProcessor and the plotters made for such logs read: one line a stretch of time or kind
          of command, tagged with its name, values in ns
Exact     our buckets are HdrHistogram's with 3 significant digits and a lowest value of 1, index for index

Source: HdrHistogram's Java implementation, AbstractHistogram and HistogramLogWriter (public domain, CC0).
"""

import base64
import struct
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from trafficgen.measure.histogram import Histogram, bucket_index
from trafficgen.measure.results import Results
from trafficgen.printable import printable

_V2_COOKIE: Final = 0x1C849303 | 0x10
_V2_COMPRESSED_COOKIE: Final = 0x1C849304 | 0x10
_DIGITS: Final = 3
_HEADER: Final = struct.Struct(">iiiiqqd")
_MS: Final = 1e6


def to_hdr_log(results: Results) -> str:
    """All histograms of `results` as one log."""
    start_s = datetime.fromisoformat(results.run.started_at).timestamp()
    lines = [
        f"#[traffic-gen {results.run.tool_version}, run {results.run.id}, values in ns]",
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {start_s:.3f} (seconds since epoch), {results.run.started_at}]",
        f"#[BaseTime: {start_s:.3f} (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    commands = {f"command_{name}": histogram for name, histogram in results.command_histograms.items()}
    for name, histogram in {**results.histograms, **commands}.items():
        highest_ms = (histogram.max_ns or 0) / _MS
        lines.append(f"Tag={name},0.000,{results.run.duration_s:.3f},{highest_ms:.3f},{encode(histogram)}")
    return "\n".join(map(printable, lines)) + "\n"


def encode(histogram: Histogram) -> str:
    """The V2 encoding, compressed, in base64."""
    payload = b"".join(_varint(number) for number in _runs(histogram))
    highest = max(2, histogram.max_ns or 0)
    header = _HEADER.pack(_V2_COOKIE, len(payload), 0, _DIGITS, 1, highest, 1.0)
    compressed = zlib.compress(header + payload)
    framed = struct.pack(">ii", _V2_COMPRESSED_COOKIE, len(compressed)) + compressed
    return base64.b64encode(framed).decode("ascii")


def _runs(histogram: Histogram) -> Iterator[int]:
    """Counts in the order of their buckets; a stretch of empty ones as its negated length."""
    following = 0
    for highest_ns, count in histogram.buckets():
        bucket = bucket_index(highest_ns)
        if bucket > following:
            yield following - bucket
        yield count
        following = bucket + 1


def _varint(number: int) -> bytes:
    """ZigZag LEB128 of a 64-bit number, as HdrHistogram writes it: at most 9 octets, the last with all 8 bits."""
    rest = (number << 1) ^ (number >> 63)
    octets = bytearray()
    while len(octets) < 8 and rest > 0x7F:
        octets.append(rest & 0x7F | 0x80)
        rest >>= 7
    octets.append(rest)
    return bytes(octets)
