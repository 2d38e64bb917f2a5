"""The summary, letter by letter."""

import io
from dataclasses import replace

import pytest

from trafficgen.measure.counts import Domain, Latency, MessageCounts, ReplyCount
from trafficgen.measure.delivered import Delivery, LedgerCounts
from trafficgen.measure.results import Results
from trafficgen.outcomes import Phase, StoppedBy
from trafficgen.report import words
from trafficgen.report.sections import load_in_words
from trafficgen.report.to_html import to_html
from trafficgen.report.to_text import encodable, has_colour, to_text, write_summary


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def section(text: str, title: str) -> list[str]:
    """The lines under `title`, up to the next empty one."""
    _, _, rest = text.partition(f"\n\n{title}")
    return rest.partition("\n\n")[0].splitlines()[1:]


GOLDEN = """\
run      9f3a6c1e02b4d857, seed 42
begun    2026-11-22 00:24:36 UTC with traffic-gen 0.1.0
target   mail.test:2525 (10.0.0.7, fd00::7)
load     open model, 400/s, Poisson arrivals, onto 20 sessions
content  bodies of 10kb:5 80kb:5, to 2 domains
end      time was up after 2.50 s

messages               count  of started
  planned              1,000
  started                995
  accepted               992      99.70%
  rejected, temporary      0       0.00%
  rejected, permanent      1       0.10%
  failed                   1       0.10%
  in doubt                 1       0.10%
  not started              5

rate        per second  per minute   per hour
  accepted         397      23,808  1,428,480
  data         1.98 MB      119 MB    7.14 GB
  started          398      23,904  1,434,240
  wanted           400      24,000  1,440,000

latency, ms          count    avg    min    p50    p75   p90   p95   p99  p99.9      max
  service              992  0.462  0.042  0.420  0.840  1.26  1.68  2.10      –     42.0
  response           1,992   2.20  0.200   2.00   4.00  6.00  8.00  10.0   20.0      200
  service, rejected      1  1,650    150      –      –     –     –     –      –  150,000
  –  too few values to tell this percentile from the maximum

phases, ms     count    avg    min    p50    p75    p90    p95   p99  p99.9   max
  connect         20  0.093  0.009  0.085  0.170  0.255  0.340     –      –  8.50
  TLS             20   3.53  0.321   3.21   6.42   9.63   12.8     –      –   321
  end of data    993  0.440  0.040  0.400  0.800   1.20   1.60  2.00      –  40.0
  –  too few values to tell this percentile from the maximum

replies        code  enhanced  count  for example
  end of data  250   2.0.0       992  Ok: queued as 4F1C2
  EHLO         250                20  mail.test
  RCPT         550   5.1.1         1  no such user here

failures   what                count  for example
  connect  connection refused      1  [Errno 111] 10.0.0.7:2525

domains           wanted     got  started  accepted
  gmail.com.test  75.00%  75.38%      750       748
  aol.com.test    25.00%  24.62%      245       244

ledger
  992 expected, 992 received, 0 missing, 0 duplicated, 0 corrupted

generator   CPU  woke late, ms: p50    p99   max  lateness, ms: p99  sessions opened
  worker 0  41%               0.050  0.250  5.00              0.100               10
  worker 1  97%                   –      –     –                  –               10
  the generator, not the server, was the limit: worker 1 used 97% of its core (1 of 2 workers above
    85%); use more workers or machines, or ask for less
"""


def test_summary_of_a_small_run(results: Results) -> None:
    assert to_text(results) == GOLDEN


def test_durations_that_are_compared_have_one_unit() -> None:
    assert words.together([420_000, 2_000_000]) == ("0.420 ms", "2.00 ms")
    assert words.together([420_000, None]) == ("420 µs", "–")
    assert words.together([85_000, 150e9]) == ("0.085 ms", "150,000 ms")
    assert words.together([5_000, 2_000_000]) == ("5.00 µs", "2,000 µs")
    assert words.together([0, None]) == ("0 ns", "–")


def test_a_target_that_was_never_reached_has_one_line_in_place_of_zeros(results: Results) -> None:
    messages = MessageCounts(5, 3, 0, 0, 0, 3, 0, 2, 0)
    generator = replace(results.generator, sessions_opened=0)
    text = to_text(replace(results, messages=messages, replies=(), generator=generator))
    _, said = text.split("\n\n")
    assert said == (
        "no session: 3 messages failed, 2 not started\n"
        "  connect: connection refused, 1×, for example: [Errno 111] 10.0.0.7:2525\n"
    )


def test_no_line_is_wider_than_asked_for(results: Results) -> None:
    for width in (80, 100):
        assert max(map(len, to_text(results, width).splitlines())) <= width


def test_a_sentence_is_never_cut_short(results: Results) -> None:
    lines = to_text(results, 60).split("\nledger\n")[1].split("\n\n")[0].splitlines()
    assert " ".join(map(str.strip, lines)).endswith("0 corrupted")
    assert (len(lines), max(map(len, lines)) <= 60) == (2, True)


def test_numbers_are_never_cut_short(results: Results) -> None:
    assert "…" not in "\n".join(section(to_text(results, 60), "latency"))


def test_closed_model_says_that_it_has_no_response_time(results: Results) -> None:
    closed = replace(
        results,
        run=replace(results.run, model="closed"),
        plan={"sessions": 1},
        latency_ns=dict(results.latency_ns) | {"response": None},
    )
    text = to_text(closed)
    assert "closed model, 1 session: each sends its next message when the one before is answered" in text
    assert "closed model: messages have no intended start, so there is no response time" in text


@pytest.mark.parametrize(
    ("count", "shown"),
    [(1, "–  –  –  –  –  –"), (99, "p50 p75 p90 p95 –  –"), (100, "p50 p75 p90 p95 p99  –"), (1_000, "all six")],
)
def test_percentiles_appear_where_the_count_supports_them(results: Results, count: int, shown: str) -> None:
    service = results.latency_ns["service"]
    assert service is not None
    few = replace(results, latency_ns={"service": replace(service, count=count)})
    line = section(to_text(few), "latency")[0]
    assert line.count("–") == {1: 6, 99: 2, 100: 1, 1_000: 0}[count], shown


def test_long_lists_are_summed_after_ten(results: Results) -> None:
    many = replace(
        results,
        domains={f"d{n}.test": Domain(1 / 12, 10 + n, n) for n in range(12)},
        replies=tuple(ReplyCount(Phase.DATA, 400 + n, "", n + 1, "x") for n in range(12)),
    )
    domains, replies = section(to_text(many), "domains"), section(to_text(many), "replies")
    assert (len(domains), len(replies)) == (11, 11)
    assert domains[-1].split() == ["2", "others", "16.67%", "22.04%", "41", "21"]
    assert replies[-1].split() == ["others", "3"]


def test_sections_without_content_are_left_out(results: Results) -> None:
    bare = replace(results, replies=(), failures=(), ledger=None, latency_ns={})
    titles = [line.split()[0] for line in to_text(bare).splitlines() if line and not line.startswith(" ")]
    assert titles[6:] == ["messages", "rate", "domains", "generator"]


def test_a_run_that_was_cut_off_says_so(results: Results) -> None:
    assert "end      not complete: this is the state after 2.50 s" in to_text(replace(results, complete=False))
    lost = to_text(replace(results, stopped_by=StoppedBy.WORKER_LOST))
    assert "end      stopped: a worker died after 2.50 s" in lost


@pytest.mark.parametrize(("after_s", "end"), [(61.2, "interrupted after 61.2 s"), (0.0, "interrupted before it began")])
def test_a_run_that_was_stopped_went_on_longer_than_its_messages(results: Results, after_s: float, end: str) -> None:
    cut = replace(results, stopped_by=StoppedBy.INTERRUPTED, run=replace(results.run, stopped_after_s=after_s))
    assert f"end      {end}\n" in to_text(cut)
    assert end in to_html([cut])


@pytest.mark.parametrize(
    ("rates", "load"),
    [
        ((200, 1000), "from 0/s to 200/s in 30.0 s, 1,000/s in 30.0 s, evenly spaced, onto 1 session"),
        (
            (9, 5000, 1, 0),
            "from 0/s to 0/s in 4 stages within 2m 00s, the highest 5,000/s, evenly spaced, onto 1 session",
        ),
    ],
)
def test_a_ramp_says_where_it_goes(rates: tuple[int, ...], load: str) -> None:
    stages = [{"duration_ns": 30 * 10**9, "rate_per_s": rate} for rate in rates]
    plan = {"sessions": 1, "load": {"rate_per_s": 0.0, "stages": stages}}
    assert load_in_words(plan) == f"open model, {load}"


def test_share_is_never_rounded_to_all_or_nothing(results: Results) -> None:
    near = MessageCounts(1_000_000, 1_000_000, 999_999, 0, 0, 1, 0, 0, 1)
    text = to_text(replace(results, messages=near))
    assert "accepted               999,999     >99.99%" in text
    assert "failed                       1      <0.01%" in text


def test_colour_is_for_terminals_that_want_it() -> None:
    assert has_colour(Terminal(), {})
    assert not has_colour(Terminal(), {"NO_COLOR": "1"})
    assert not has_colour(Terminal(), {"TERM": "dumb"})
    assert not has_colour(io.StringIO(), {})


def test_a_file_gets_plain_text(results: Results) -> None:
    stream = io.StringIO()
    write_summary(results, stream)
    assert stream.getvalue() == GOLDEN


def test_a_terminal_gets_the_same_words_in_colour(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "101")
    broken = replace(results, ledger=LedgerCounts(992, 991, 1, 0, 0))
    stream = Terminal()
    write_summary(broken, stream)
    assert "\x1b[31m  992 expected, 991 received, 1 missing, 0 duplicated, 0 corrupted" in stream.getvalue()
    assert "\x1b[32m  accepted" in stream.getvalue()


def test_a_stream_without_unicode_gets_plain_letters() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert encodable("12 µs – é…", stream) == "12 us - ?~"
    assert encodable("12 ms", stream) == "12 ms"


def test_markup_in_a_servers_words_stays_as_it_is(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    rude = replace(results, replies=(ReplyCount(Phase.DATA, 451, "", 1, "[bold]try[/nope] later"),))
    stream = Terminal()
    write_summary(rude, stream)
    assert "[bold]try[/nope] later" in stream.getvalue()


def test_a_terminal_that_went_away_is_the_callers_to_handle(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(BrokenPipeError):
        write_summary(results, Gone())


def test_a_wait_for_delivery_has_its_own_section(results: Results) -> None:
    latency = Latency(992, 1_000_000, 2e6, 2_000_000, 3_000_000, 4_000_000, 5_000_000, 6_000_000, 7_000_000, 8_000_000)
    waited = replace(results, delivery=Delivery(1_500_000_000, 1234.4, 567.8, True, 3, 0, latency))
    assert section(to_text(waited), "delivery") == [
        "  injected at 1,234/s, delivered at 568/s, drained in 1.50 s",
        "  3 came again because a reply was lost",
        "  end to end: p50 2.00 ms  p90 4.00 ms  p99 6.00 ms  p99.9 7.00 ms  max 8.00 ms",
    ]
    late = replace(results, delivery=Delivery(1_500_000_000, 1234.4, 567.8, False, 0, 0, None))
    assert section(to_text(late), "delivery") == ["  injected at 1,234/s, delivered at 568/s, not all came in time"]
    prompt = replace(results, delivery=Delivery(0, 1234.4, 567.8, True, 0, 0, None))
    assert section(to_text(prompt), "delivery") == [
        "  injected at 1,234/s, delivered at 568/s, all had arrived when the sending ended"
    ]


def test_users_of_mailboxes_have_no_table_of_domains(results: Results) -> None:
    profile = {"total_user_count": 100, "path": "office.conf"}
    of_users = to_text(replace(results, plan={**results.plan, "profile": profile}))
    assert "load     100 users as office.conf says" in of_users
    assert "\ndomains" in to_text(results)
    assert " domain" in to_text(results)
    assert "domain" not in of_users


def test_results_of_before_have_no_delivery(results: Results) -> None:
    plain = {key: value for key, value in results.to_dict().items() if key != "delivery"}
    assert Results.from_dict(plain) == results


def test_a_little_of_what_the_machine_is_capable_of_is_not_nothing(results: Results):
    for share, said in ((0.002, "less than 1%"), (0.01, "1%"), (0.5, "50%")):
        generator = replace(results.generator, ceiling_share=share)
        text = to_text(replace(results, generator=generator))
        assert f"the run reached {said} of the rate this machine was found capable of" in text
