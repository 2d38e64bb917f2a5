"""A corpus is exact, the same for any number of workers, and whole or not there."""

import email
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable
from email import policy
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from mboxgen import Recipe, RecipeError, generate, open_mbox, read_mbox
from mboxgen.corpus import worker_pool
from mboxgen.corpus.verify import verify
from mboxgen.flags import Flag
from mboxgen.mbox import index
from mboxgen.recipe import plan
from mboxgen.recipe.faults import FAULTS, FaultError, parse_fault
from mboxgen.recipe.profiles import PROFILES
from mboxgen.recipe.recipe import Body, Eol, Format, Order
from mboxgen.recipe.sizes import PRESETS
from tests.mboxgen.corpora import forked

Run = Callable[..., CompletedProcess[str]]


def planned(recipe: Recipe) -> list[int]:
    counted = plan.make(recipe)
    return [size for block in range(counted.blocks) for size in counted.sizes(block).tolist()]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# The first 16 digits of the sha256 of 600 messages of seed 7: they pin FORMAT_VERSION, which changes with these lines.
GOLDEN = {
    "spec2001": "03beae81074cccda",
    "dovecot-sample": "aa9fe63a88ae494c",
    "kumo-60k": "76cb7d4202ffc69a",
    "kumo-100k": "4efb49a8ac82d991",
    "loadsim-mmb": "e37afc8c821daf2a",
    "loadsim-light": "8e33043309ae3b93",
    "loadsim-medium": "d6dc0bcba64eda57",
    "loadsim-heavy": "457983aef6bfa74e",
    "sa-ham": "f941addbf809ab98",
    "sa-hardham": "ee01b84a15b7c13f",
    "sa-spam": "e183ee3cceb39185",
    "list-all": "2c355a2cd78e436f",
    "list-2017": "5a80ec9f02f11e03",
    "corp": "57596674145d40b0",
    "freebsdnet-2002": "0f7ec501e24e570c",
    "b2c-html": "ac30897ea7c578da",
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_delivers_the_planned_octets_and_never_changes(tmp_path: Path, name: str) -> None:
    recipe = Recipe((name,), count=600, seed=7)
    path = tmp_path / "a.mbox"
    generate(recipe, path)
    assert [len(message) for message in read_mbox(path)] == planned(recipe)
    assert sha256(path)[:16] == GOLDEN[name]


@pytest.mark.usefixtures("many_workers")
@pytest.mark.parametrize(("eol", "counts"), [(Eol.CRLF, (1, 2, 7, 1)), (Eol.LF, (1, 2))])
def test_the_octets_are_the_same_for_any_number_of_workers(tmp_path: Path, eol: Eol, counts: tuple[int, ...]) -> None:
    recipe = Recipe(("uniform:1kb-3kb",), count=34_000, seed=3, look="personal", eol=eol)
    assert plan.make(recipe).blocks >= 2 + 7, "every worker gets a block"
    sums = set()
    for number, workers in enumerate(counts):
        path = tmp_path / f"{number}.mbox"
        assert generate(recipe, path, workers=workers).workers == workers
        index = path.with_name(path.name + ".idx").read_bytes()[128:]
        sums.add((sha256(path), hashlib.sha256(index).hexdigest()))
    assert len(sums) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_forked_workers_make_the_same_octets_and_all_end(tmp_path: Path) -> None:
    recipe = "Recipe(('uniform:1kb-3kb',), count=20_000, seed=3, look='personal')"
    for workers in (1, 3):
        done = forked(f"print(generate({recipe}, '{workers}.mbox', workers={workers}).workers)", tmp_path)
        assert (done.stdout.split(), done.stderr) == ([str(workers)], "")
    assert sha256(tmp_path / "1.mbox") == sha256(tmp_path / "3.mbox")
    assert verify(tmp_path / "3.mbox").sound


@pytest.mark.parametrize("size", ["700", "60kb"])
def test_a_disk_that_takes_little_at_once_gets_the_same_octets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    recipe = Recipe((size,), count=40, seed=3)
    generate(recipe, tmp_path / "whole.mbox")
    at_once, alone = os.pwritev, os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda file, pieces, at: at_once(file, [memoryview(pieces[0])[:100]], at))
    monkeypatch.setattr(os, "pwrite", lambda file, octets, at: alone(file, octets[:99_999], at))
    generate(recipe, tmp_path / "little.mbox")
    assert sha256(tmp_path / "little.mbox") == sha256(tmp_path / "whole.mbox")


def test_the_manifest_tells_how_to_make_it_again(tmp_path: Path) -> None:
    path = tmp_path / "a.mbox"
    generate(Recipe(("10kb:3", "20kb:1"), seed=5, faults=(("nul", 0.5),), eol=Eol.CRLF), path)
    manifest = json.loads((tmp_path / "a.mbox.manifest.json").read_text())
    assert manifest["messages"] == 4
    assert manifest["delivered_octets"] == 50_000
    assert manifest["file"] == {"octets": path.stat().st_size, "crc32": f"{zlib.crc32(path.read_bytes()):08x}"}
    from mboxgen.recipe import recipe as recipes

    again = Recipe(**recipes.from_fields(manifest["recipe"], "manifest"))
    generate(again, tmp_path / "b.mbox")
    assert sha256(path) == sha256(tmp_path / "b.mbox")


@pytest.mark.parametrize("look", PROFILES)
@pytest.mark.parametrize("body", Body)
def test_every_look_is_clean_mail_and_its_index_is_true(tmp_path: Path, look: str, body: Body) -> None:
    path = tmp_path / "a.mbox"
    recipe = Recipe(("uniform:220-9000",), count=150, seed=5, look=look, body=body, smtputf8=0.1)
    generate(recipe, path)
    message_ids = set()
    with open_mbox(path) as mbox:
        assert mbox.indexed
        for number in range(len(mbox)):
            message = bytes(mbox.crlf(number))
            flags = Flag(int(mbox.records[number]["flags"]))
            assert not flags & ~(Flag.CHECKSUMS_KNOWN | Flag.EIGHT_BIT | Flag.SMTPUTF8)
            message_ids.add(check_mail(message, bool(flags & Flag.SMTPUTF8)))
        assert np.array_equal(mbox.records, read_through(path))
    assert len(message_ids) == 150


def check_mail(message: bytes, utf8: bool) -> str:
    """Everything RFC 5322 and MIME want of a message; its Message-ID comes back."""
    parsed = email.message_from_bytes(message, policy=policy.SMTPUTF8 if utf8 else policy.SMTP)
    for part in parsed.walk():
        assert not part.defects
        if not part.is_multipart():
            part.get_content()
    for name in ("Date", "From", "To", "Subject", "Message-ID"):
        assert len(parsed.get_all(name, [])) == 1, name
    # The parser calls raw UTF-8 a defect when it parses octets, whatever the policy.
    assert utf8 or not any(value.defects for value in parsed.values())
    assert parsed["Date"].datetime.utcoffset() is not None
    assert len(parsed.get_all("Received", [])) <= 20
    header = message[: message.index(b"\r\n\r\n")]
    assert all(len(line.decode()) <= 100 for line in header.split(b"\r\n"))  # characters: RFC 6532 section 3.4
    assert all(line.strip() for line in header.split(b"\r\n"))
    return str(parsed["Message-ID"])


def test_lists_have_threads_whose_parents_are_earlier_messages(tmp_path: Path) -> None:
    path = tmp_path / "a.mbox"
    generate(Recipe(("list-2017",), count=600, seed=1), path)
    seen: set[str] = set()
    replies = 0
    for message in read_mbox(path):
        parsed = email.message_from_bytes(message)
        if parsed["In-Reply-To"]:
            replies += 1
            assert parsed["In-Reply-To"] in seen
            assert set(parsed["References"].split()) <= seen
            assert parsed["Subject"].startswith("Re: ")
        seen.add(parsed["Message-ID"])
    assert 150 < replies < 450


def test_dates_rise_over_the_span_and_agree_with_the_from_line(tmp_path: Path) -> None:
    import datetime as dt

    path = tmp_path / "a.mbox"
    generate(Recipe(("1kb",), count=500, seed=1, start=dt.date(2024, 2, 28), days=3), path)
    with open_mbox(path) as mbox:
        dates = []
        for number in range(len(mbox)):
            stamp = mbox.from_line(number).split(b" ", 2)[2].decode()
            at = dt.datetime.strptime(stamp, "%a %b %d %H:%M:%S %Y").replace(tzinfo=dt.UTC)
            sent = email.message_from_bytes(bytes(mbox.crlf(number)), policy=policy.default)["Date"].datetime
            assert dt.timedelta(0) < at - sent < dt.timedelta(minutes=1)
            dates.append(at.replace(second=0))
    assert dates == sorted(dates)
    assert dates[0].date() == dt.date(2024, 2, 28)
    assert dates[-1].date() == dt.date(2024, 3, 1)


def test_counts_are_as_given_and_the_order_is_shuffled_unless_asked(tmp_path: Path) -> None:
    sizes = ("1kb:300", "2kb:200", "3kb:100")
    shuffled, given = planned(Recipe(sizes, seed=2)), planned(Recipe(sizes, order=Order.AS_GIVEN))
    assert given == [1_000] * 300 + [2_000] * 200 + [3_000] * 100
    assert sorted(shuffled) == given
    assert shuffled != given
    assert len(set(shuffled[:20])) > 1


@pytest.mark.parametrize(
    ("sizes", "octets", "blocks"), [(("list-2017",), 5_000_000, 1), (("400b:1", "900b:1"), 8_000_000, 3)]
)
def test_a_total_size_is_filled_and_not_passed(sizes: tuple[str, ...], octets: int, blocks: int) -> None:
    recipe = Recipe(sizes, total_octets=octets, seed=4)
    total = sum(planned(recipe))
    assert plan.make(recipe).blocks == blocks
    assert total <= octets
    assert total + planned(Recipe(sizes, count=len(planned(recipe)) + 1, seed=4))[-1] > octets


def test_a_total_size_that_not_one_message_fits_into_is_refused() -> None:
    with pytest.raises(RecipeError, match="raise --total-size"):
        plan.make(Recipe(("60kb",), total_octets=50_000))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_size_too_small_for_its_header_is_refused_with_the_least(tmp_path: Path, workers: int) -> None:
    with pytest.raises(RecipeError, match=r"has at least 2\d\d with its header") as caught:
        generate(Recipe(("100:5", "10kb:5")), tmp_path / "a.mbox", workers=workers)
    least = int(str(caught.value).split("at least ")[1].split()[0])
    recipe = Recipe((str(least),), count=2_000)
    generate(recipe, tmp_path / "a.mbox", workers=workers)
    assert {len(message) for message in read_mbox(tmp_path / "a.mbox")} == {least}


def test_sizes_follow_the_distribution_through_the_whole_way() -> None:
    found = np.array(planned(Recipe(("spec2001",), count=20_000, seed=8)))
    mix = PRESETS["spec2001"].sizes
    wanted = np.array(mix.weights) / sum(mix.weights) * len(found)  # type: ignore[attr-defined]
    counts = [(found == size).sum() for size in mix.sizes]  # type: ignore[attr-defined]
    assert stats.chisquare(counts, wanted).pvalue > 0.01


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_comes_at_its_rate_and_sizes_stay_exact(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.mbox"
    recipe = Recipe(("uniform:1600-9000",), count=1_000, seed=5, look="personal", faults=((name, 0.25),))
    generate(recipe, path)
    messages = list(read_mbox(path))
    assert [len(message) for message in messages] == planned(recipe)
    tests = {
        "leading-dot": lambda m: b"\n.\r\n..\r\n.hidden\r\n" in m,
        "from-line": lambda m: b"\nFrom here" in m,
        "long-line": lambda m: max(map(len, m.split(b"\r\n"))) > 998,
        "bare-lf": lambda m: b"only\n" in m,
        "nul": lambda m: b"\0" in m,
        "eight-bit": lambda m: b"undeclared \xe4" in m and b"8bit" not in m,
        "missing-date": lambda m: b"\r\nDate:" not in m,
        "broken-mime": lambda m: b'boundary="=_never"' in m and b"--=_never" not in m,
    }
    assert 200 < sum(map(tests[name], messages)) < 300
    assert verify(path).sound
    with open_mbox(path) as mbox:
        assert np.array_equal(mbox.records, read_through(path))


def read_through(path: Path) -> np.ndarray:
    """The records of a corpus as reading finds them, without its index."""
    index.path_of(path).unlink()
    with open_mbox(path) as mbox:
        mbox.compute_checksums()
        return mbox.records.copy()


def test_a_fault_without_a_rate_is_in_every_message() -> None:
    assert parse_fault("leading-dot") == ("leading-dot", 1.0)
    assert parse_fault(" leading-dot:1 ") == ("leading-dot", 1.0)
    assert parse_fault("leading-dot:0") == ("leading-dot", 0.0)
    for text in ("leading-dot:1.01", "leading-dot:-0.01", "leading-dot:"):
        with pytest.raises(FaultError, match="from 0 to 1"):
            parse_fault(text)


def test_shared_attachments_occur_again_and_unique_ones_do_not(tmp_path: Path) -> None:
    shares = {}
    for wanted in (1.0, 0.3):
        path = tmp_path / f"{wanted}.mbox"
        generate(Recipe(("100kb",), count=500, seed=2, look="corporate", unique_share=wanted), path)
        attached = [
            (part.get_filename(), part.get_payload())
            for message in read_mbox(path)
            for part in email.message_from_bytes(message).walk()
            if part.get_filename()
        ]
        again = [name for name, _ in attached if name.startswith("copy-")]
        shares[wanted] = len(again) / len(attached)
        assert len(set(attached)) == len(attached) - len(again) + len(set(again))
    assert shares[1.0] == 0
    assert 0.6 < shares[0.3] < 0.8


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.tuples(st.integers(2_000, 4_000), st.integers(0, 300_000)),
    st.integers(1, 40),
    st.sampled_from([5, 2**128 - 1]),
    st.sampled_from(sorted(PROFILES)),
    st.sampled_from(Eol),
    st.sampled_from(Body),
    st.sets(st.sampled_from(sorted(set(FAULTS) - {"bare-lf"}))),
)
def test_what_is_generated_is_read_back_exactly(
    tmp_path: Path, sizes: tuple[int, int], count: int, seed: int, look: str, eol: Eol, body: Body, faults: set[str]
) -> None:
    # Lines of noise may look like a header, and a From_ line before one begins a message for every reader of mboxes.
    assume(body is not Body.NOISE or "from-line" not in faults)
    spec = f"uniform:{sizes[0]}-{sizes[0] + sizes[1]}"
    recipe = Recipe(
        (spec,), count=count, seed=seed, look=look, eol=eol, body=body, faults=tuple((f, 0.5) for f in sorted(faults))
    )
    path = tmp_path / "a.mbox"
    generate(recipe, path, force=True)
    assert [len(message) for message in read_mbox(path)] == planned(recipe)
    verdict = verify(path)
    assert (verdict.sound, verdict.messages) == (True, count)


@pytest.mark.parametrize(
    ("most", "blocks", "seconds", "workers"),
    [
        (1, 100, 1e6, 1),
        (2, 100, 0.9, 1),  # half of it is less than a worker's start
        (2, 100, 1.1, 2),
        (4, 100, 0.6, 1),
        (4, 100, 0.7, 4),
        (4, 3, 60.0, 3),
        (4, 1, 60.0, 1),
        (9, 100, 60.0, 4),  # processors
    ],
)
def test_there_are_as_many_workers_as_help(
    monkeypatch: pytest.MonkeyPatch, most: int, blocks: int, seconds: float, workers: int
) -> None:
    monkeypatch.setattr(worker_pool, "processors", lambda: 4)
    assert worker_pool.worker_count(most, blocks, seconds, 0.5) == workers


def test_a_small_corpus_is_made_by_one_process_whatever_is_asked(mboxgen: Run, tmp_path: Path) -> None:
    said = mboxgen("a.mbox", "--size", "1kb", "--count", "50", "--workers", "2").stderr.splitlines()
    assert said[1:] == ["made by 1 of 2 workers: more would not have been done sooner"]
    assert len(mboxgen("b.mbox", "--size", "1kb", "--count", "50").stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", [Format.EML_DIR, Format.MAILDIR])
def test_folders_hold_the_same_messages_as_an_mbox(tmp_path: Path, kind: Format) -> None:
    options = {"count": 520, "seed": 5, "look": "plain", "eol": Eol.LF}
    generate(Recipe(("uniform:1kb-3kb",), **options), tmp_path / "a.mbox")  # type: ignore[arg-type]
    generate(Recipe(("uniform:1kb-3kb",), format=kind, **options), tmp_path / "dir")  # type: ignore[arg-type]
    files = sorted((file for file in (tmp_path / "dir").rglob("*") if file.is_file()), key=number_of)
    found = [file.read_bytes().replace(b"\n", b"\r\n") for file in files]
    assert found == list(read_mbox(tmp_path / "a.mbox"))


def number_of(file: Path) -> int:
    parts = file.name.split(".")
    return int(parts[1][1:]) if len(parts) > 2 else int(parts[0]) if parts[0].isdigit() else -1


def test_a_maildir_names_both_sizes(tmp_path: Path) -> None:
    generate(Recipe(("5kb",), count=3, format=Format.MAILDIR), tmp_path / "dir")
    assert {entry.name for entry in (tmp_path / "dir").iterdir()} == {"cur", "new", "tmp"}
    for file in (tmp_path / "dir" / "new").iterdir():
        assert f",S={file.stat().st_size},W=5000" in file.name
        assert b"\r" not in file.read_bytes()
