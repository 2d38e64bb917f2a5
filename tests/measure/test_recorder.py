"""Rows become numbers: what is timed from where to where, and what is not."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficgen.engine.account import PHASES
from trafficgen.measure.recorder import COLUMNS, FOLD_FROM, MAX_KINDS, MAX_TIMED_DOMAINS, Recorder, printable
from trafficgen.measure.snapshot import Snapshot, Tally, merge
from trafficgen.outcomes import Outcome, Phase

START = 5_000_000_000

Row = tuple[int, int, int, int, int, int, int, int, int]


def snapshot_of(recorder: Recorder, in_flight: int = 0) -> Snapshot:
    return recorder.snapshot(
        now_ns=START + 1, cpu_ns=40, wall_ns=100, sessions_open=2, sessions_opened=3, in_flight=in_flight
    )


def recorder_of(rows: list[Row], *, open_loop: bool = False, domains: int = 3, worker: int = 0) -> Recorder:
    recorder = Recorder(domains, START, open_loop, worker, phases=PHASES)
    for row in rows:
        recorder.rows.extend(row)
    return recorder


def row(
    number: int, outcome: Outcome, *, domain: int = 0, due: int = -1, start: int = 0, ready: int = -1, sent: int = -1,
    end: int = 1_000, octets: int = 500,
) -> Row:  # fmt: skip
    due, start, ready, sent, end = (at if at < 0 else START + at for at in (due, start, ready, sent, end))
    return (number, int(outcome), domain, due, start, ready, sent, end, octets)


@st.composite
def any_rows(draw: st.DrawFn) -> list[Row]:
    made = []
    for number in range(draw(st.integers(0, 20))):
        start, ready, sent, rest = (draw(st.integers(0, 3_000_000_000)) for _ in range(4))
        outcome = draw(st.sampled_from(Outcome))
        handed_over = outcome is not Outcome.FAILED and draw(st.booleans())
        made.append(
            row(
                draw(st.integers(0, 10**6)) * 20 + number,
                outcome,
                domain=draw(st.integers(0, 2)),
                due=max(start - draw(st.integers(-9, 10**9)), 0),
                start=start,
                ready=start + ready if draw(st.booleans()) else -1,
                sent=start + ready + sent if handed_over else -1,
                end=start + ready + sent + rest,
                octets=draw(st.integers(0, 10**8)),
            )
        )
    return made


def test_service_time_runs_from_real_start_to_reply_and_keeps_rejections_apart() -> None:
    rows = [row(1, Outcome.ACCEPTED, end=700), row(2, Outcome.REJECTED_TEMPORARY, end=30)]
    rows += [row(3, Outcome.REJECTED_PERMANENT, end=20), row(4, Outcome.FAILED), row(5, Outcome.IN_DOUBT)]
    taken = snapshot_of(recorder_of(rows)).histograms
    assert taken["service"].buckets() == [(700, 1)]
    assert taken["service_rejected"].buckets() == [(20, 1), (30, 1)]


def test_response_time_runs_from_intended_start() -> None:
    rows = [row(1, Outcome.ACCEPTED, due=100, start=400, end=700), row(2, Outcome.FAILED, due=0, start=50)]
    taken = snapshot_of(recorder_of(rows, open_loop=True))
    assert taken.histograms["service"].buckets() == [(300, 1)]
    assert taken.histograms["response"].buckets() == [(600, 1)]
    assert taken.histograms["lateness"].buckets() == [(50, 1), (300, 1)]
    assert taken.latency is taken.histograms["response"]


def test_an_early_start_counts_from_the_real_one() -> None:
    taken = snapshot_of(recorder_of([row(1, Outcome.ACCEPTED, due=500, start=400, end=450)], open_loop=True))
    assert taken.histograms["lateness"].buckets() == [(0, 1)]
    assert taken.histograms["response"].buckets() == [(50, 1)]


def test_closed_loop_has_neither_response_time_nor_lateness() -> None:
    taken = snapshot_of(recorder_of([row(1, Outcome.ACCEPTED)]))
    assert taken.histograms["response"].count == taken.histograms["lateness"].count == 0
    assert taken.latency is taken.histograms["service"]


def test_stall_shows_in_response_time_only() -> None:
    # Due every 100 ns; the server sleeps for 1,000 ns before the third: the fourth and fifth wait, and are quick then.
    starts = (0, 100, 200, 1_200, 1_210)
    ends = (10, 110, 1_200, 1_210, 1_220)
    rows = [row(n, Outcome.ACCEPTED, due=n * 100, start=starts[n], end=ends[n]) for n in range(5)]
    taken = snapshot_of(recorder_of(rows, open_loop=True)).histograms
    assert taken["service"].buckets() == [(10, 4), (1_000, 1)]
    assert taken["response"].buckets() == [(10, 2), (820, 1), (910, 1), (1_000, 1)]


def test_an_envelope_that_rode_with_the_message_before_has_no_time_of_its_own() -> None:
    rows = [row(1, Outcome.ACCEPTED, ready=40, sent=50, end=90), row(2, Outcome.ACCEPTED, ready=-1, sent=95, end=100)]
    taken = snapshot_of(recorder_of(rows)).histograms
    assert taken["envelope"].buckets() == [(40, 1)]
    assert taken["end_of_data"].buckets() == [(5, 1), (40, 1)]


def test_end_of_data_is_timed_only_when_a_reply_came() -> None:
    rows = [row(1, Outcome.IN_DOUBT, sent=50, end=90), row(2, Outcome.REJECTED_TEMPORARY, sent=80, end=90)]
    rows += [row(3, Outcome.REJECTED_PERMANENT, sent=-1, end=90)]
    assert snapshot_of(recorder_of(rows)).histograms["end_of_data"].buckets() == [(10, 1)]


def test_a_reply_before_the_last_octet_left_took_no_time() -> None:
    taken = snapshot_of(recorder_of([row(1, Outcome.REJECTED_PERMANENT, sent=95, end=90)]))
    assert taken.histograms["end_of_data"].buckets() == [(0, 1)]


def test_outcomes_octets_domains_and_numbers() -> None:
    rows = [row(7, Outcome.ACCEPTED, domain=1), row(3, Outcome.ACCEPTED, domain=1, octets=20)]
    rows += [row(9, Outcome.IN_DOUBT, domain=2), row(1, Outcome.FAILED, domain=0)]
    recorder = recorder_of(rows)
    taken = snapshot_of(recorder, in_flight=4)
    assert (taken.started, taken.outcomes, taken.octets, taken.in_flight) == (4, (2, 0, 0, 1, 1), 520, 4)
    assert taken.domains_started.tolist() == [1, 2, 1]
    assert taken.domains_accepted.tolist() == [0, 2, 0]
    assert recorder.accepted_numbers().tolist() == [3, 7]
    assert recorder.in_doubt_numbers().tolist() == [9]


def test_rows_stay_the_same_object_and_are_gone_after_a_fold() -> None:
    recorder = recorder_of([row(1, Outcome.ACCEPTED)])
    extend = recorder.rows.extend
    assert snapshot_of(recorder).accepted == 1
    assert len(recorder.rows) == 0
    extend(row(2, Outcome.ACCEPTED))
    assert len(recorder.rows) == COLUMNS
    assert snapshot_of(recorder).accepted == 2


def test_a_fold_waits_until_it_is_worth_it() -> None:
    recorder = recorder_of([row(number, Outcome.ACCEPTED) for number in range(FOLD_FROM - 1)])
    recorder.fold()
    assert len(recorder.rows) == (FOLD_FROM - 1) * COLUMNS
    recorder.rows.extend(row(FOLD_FROM, Outcome.ACCEPTED))
    recorder.fold()
    assert len(recorder.rows) == 0
    assert snapshot_of(recorder).accepted == FOLD_FROM


def test_a_snapshot_does_not_change_with_what_comes_after() -> None:
    recorder = recorder_of([row(1, Outcome.ACCEPTED)])
    recorder.reply(Phase.EHLO, 250, "", "ok")
    recorder.loop_lag(5)
    taken = snapshot_of(recorder)
    recorder.rows.extend(row(2, Outcome.ACCEPTED, domain=1, end=9_000))
    recorder.reply(Phase.EHLO, 250, "", "ok")
    recorder.phase(Phase.CONNECT, 3)
    recorder.loop_lag(5)
    snapshot_of(recorder)
    assert (taken.accepted, taken.domains_started.tolist(), len(taken.timeline)) == (1, [1, 0, 0], 1)
    assert [taken.histograms[name].count for name in ("service", "connect")] == [1, 0]
    assert taken.replies == {(Phase.EHLO, 250, ""): Tally(1, "ok")}
    assert taken.workers[0].loop_lag.count == 1


def test_steps_of_opening_a_session_each_have_a_histogram() -> None:
    recorder = Recorder(0, START, False, phases=PHASES)
    for elapsed, phase in enumerate((Phase.CONNECT, Phase.TLS, Phase.GREETING, Phase.EHLO, Phase.AUTH)):
        recorder.phase(phase, elapsed)
    taken = snapshot_of(recorder).histograms
    names = ("connect", "tls", "greeting", "ehlo", "auth")
    assert [taken[name].buckets() for name in names] == [[(0, 1)], [(1, 1)], [(2, 1)], [(3, 1)], [(4, 1)]]


def test_replies_and_failures_are_tallied_and_the_first_text_is_kept() -> None:
    recorder = Recorder(1, START, False, phases=PHASES)
    recorder.reply(Phase.RCPT, 550, "5.1.1", "no such user")
    recorder.reply(Phase.RCPT, 550, "5.1.1", "nobody here", count=4)
    recorder.failure(Phase.CONNECT, "connection refused", "[Errno 111]", count=2)
    taken = snapshot_of(recorder)
    assert taken.replies == {(Phase.RCPT, 550, "5.1.1"): Tally(5, "no such user")}
    assert taken.failures == {(Phase.CONNECT, "connection refused"): Tally(2, "[Errno 111]")}


def test_a_server_that_invents_codes_does_not_fill_memory() -> None:
    recorder = Recorder(1, START, False, phases=PHASES)
    for number in range(2 * MAX_KINDS):
        recorder.reply(Phase.DATA, 450, f"4.9.{number}", "x")
        recorder.failure(Phase.DATA, f"reason {number}", "x")
    taken = snapshot_of(recorder)
    assert len(taken.replies) == len(taken.failures) == MAX_KINDS + 1
    assert taken.replies[Phase.DATA, 450, ""].count == MAX_KINDS
    assert taken.failures[Phase.DATA, "other"].count == MAX_KINDS


def test_examples_hold_nothing_a_terminal_could_act_on() -> None:
    assert printable("no\x1b[2J\r\nway\x85 é") == "no?[2J??way? é"
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 199 + "…"


def test_a_worker_says_how_it_fared() -> None:
    recorder = recorder_of([row(1, Outcome.ACCEPTED, due=0, start=5)], open_loop=True, worker=3)
    recorder.loop_lag(-2)
    recorder.loop_lag(80)
    (worker,) = snapshot_of(recorder).workers
    assert (worker.worker, worker.cpu_share, worker.sessions_open, worker.sessions_opened) == (3, 0.4, 2, 3)
    assert worker.loop_lag.buckets() == [(0, 1), (80, 1)]
    assert worker.lateness.buckets() == [(5, 1)]


@given(any_rows(), st.booleans(), st.integers(0, 20))
def test_any_split_among_workers_and_any_order_of_merging_gives_the_same(
    rows: list[Row], open_loop: bool, cut: int
) -> None:
    whole = snapshot_of(recorder_of(rows, open_loop=open_loop))
    a = snapshot_of(recorder_of(rows[:cut], open_loop=open_loop, worker=1))
    b = pickle.loads(pickle.dumps(snapshot_of(recorder_of(rows[cut:], open_loop=open_loop, worker=2))))
    for merged in (a + b, b + a, merge([b, a])):
        assert merged.outcomes == whole.outcomes
        assert merged.started == len(rows) == sum(merged.outcomes)
        assert merged.octets == whole.octets
        assert (merged.first_start_ns, merged.last_start_ns, merged.last_end_ns) == (
            whole.first_start_ns,
            whole.last_start_ns,
            whole.last_end_ns,
        )
        assert all(merged.histograms[name] == whole.histograms[name] for name in PHASES.stretches)
        assert np.array_equal(merged.domains_started, whole.domains_started)
        assert np.array_equal(merged.domains_accepted, whole.domains_accepted)
        assert merged.timeline == whole.timeline
        assert [worker.worker for worker in merged.workers] == [1, 2]


@given(any_rows(), st.integers(0, 20))
def test_folding_more_often_changes_nothing(rows: list[Row], cut: int) -> None:
    once, twice = recorder_of(rows), recorder_of(rows[:cut])
    snapshot_of(twice)
    for later in rows[cut:]:
        twice.rows.extend(later)
    assert snapshot_of(once).timeline == snapshot_of(twice).timeline
    assert snapshot_of(once).histograms == snapshot_of(twice).histograms
    assert once.accepted_numbers().tolist() == twice.accepted_numbers().tolist()


def test_the_commoner_example_survives_a_merge_in_either_order() -> None:
    assert Tally(3, "a") + Tally(1, "b") == Tally(1, "b") + Tally(3, "a") == Tally(4, "a")
    assert Tally(2, "a") + Tally(2, "b") == Tally(2, "b") + Tally(2, "a") == Tally(4, "b")
    assert Tally(9, "") + Tally(1, "b") == Tally(10, "b")


def test_what_a_lost_worker_had_in_hand_is_in_doubt() -> None:
    taken = snapshot_of(recorder_of([row(1, Outcome.ACCEPTED)])).with_lost(12)
    assert (taken.started, taken.accepted, taken.in_doubt) == (13, 1, 12)


def test_merging_nothing_gives_an_empty_run() -> None:
    nothing = merge([])
    assert (nothing.started, nothing.first_start_ns, nothing.workers) == (0, None, ())


def test_a_phase_that_is_not_part_of_opening_is_our_bug() -> None:
    with pytest.raises(KeyError):
        Recorder(1, START, False, phases=PHASES).phase(Phase.QUIT, 1)


def test_accepted_messages_are_timed_by_domain() -> None:
    rows = [row(n, Outcome.ACCEPTED, domain=n % 3, end=1_000 * (n % 3 + 1)) for n in range(9)]
    rows.append(row(9, Outcome.REJECTED_PERMANENT, domain=0, end=77))
    made = snapshot_of(recorder_of(rows)) + snapshot_of(recorder_of(rows[:3]))
    timed = {domain: (histogram.count, histogram.max_ns) for domain, histogram in made.domain_latencies.items()}
    assert timed == {0: (4, 1_000), 1: (4, 2_000), 2: (4, 3_000)}


def test_domains_beyond_the_first_few_are_counted_but_not_timed() -> None:
    beyond = MAX_TIMED_DOMAINS
    made = snapshot_of(recorder_of([row(0, Outcome.ACCEPTED, domain=beyond)], domains=beyond + 1))
    assert made.domain_latencies == {}
    assert made.domains_accepted.tolist() == [0] * beyond + [1]


def test_what_was_handed_over_began_when_it_was_due_and_without_a_rate_when_it_did() -> None:
    rows = [row(4, Outcome.ACCEPTED, due=100, start=400), row(2, Outcome.IN_DOUBT, due=0, start=50)]
    rows += [row(3, Outcome.FAILED, due=7, start=60), row(5, Outcome.ACCEPTED, start=70)]
    recorder = Recorder(1, START, True, keep_begins=True, phases=PHASES)
    for each in rows:
        recorder.rows.extend(each)
    assert recorder.begins().tolist() == [[4, 2, 5], [START + 100, START, START + 70]]


def test_begins_are_empty_unless_asked_for() -> None:
    assert recorder_of([row(1, Outcome.ACCEPTED)]).begins().shape == (2, 0)


def test_a_run_began_before_its_oldest_worker_reported() -> None:
    one, other = (
        recorder_of([]).snapshot(now_ns=1_000, cpu_ns=0, wall_ns=wall, sessions_open=0, sessions_opened=0, in_flight=0)
        for wall in (400, 900)
    )
    assert (one + other).began_ns == (other + one).began_ns == 100
