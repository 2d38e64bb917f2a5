"""The command: what it says, where, and with which exit code."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mboxgen import Recipe, open_mbox, read_mbox
from mboxgen.cli import commands
from mboxgen.mbox import index
from mboxgen.message.smallest import smallest
from mboxgen.recipe.faults import FAULTS
from mboxgen.recipe.profiles import PROFILES
from mboxgen.recipe.sizes import PRESETS
from mboxgen.text import people, vocabulary

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_examples_of_the_help_work(mboxgen: Run, tmp_path: Path) -> None:
    assert commands.epilog is not None
    (tmp_path / "corpus.toml").write_text('preset = "spec2001"\ncount = 30\nfaults = ["leading-dot:0.5"]\n')
    examples = [line.strip() for line in commands.epilog.splitlines() if line.startswith("  mboxgen")]
    assert len(examples) == 8
    for example in examples:
        small = example.replace("100000", "300").replace("10GB", "2MB").replace("--count 1000", "--count 100")
        words = small.split()[1:]
        force = [] if words[0] in ("info", "verify", "index") else ["--force"]
        done = mboxgen(*words, *force)
        assert done.returncode == 0, (example, done.stderr)


def test_help_names_every_preset_with_its_source_and_needs_no_numpy(mboxgen: Run) -> None:
    said = " ".join(mboxgen("--help").stdout.split())
    for preset in PRESETS.values():
        assert preset.name in said
        assert preset.source.split()[0] in said
    assert all(look in said for look in PROFILES)
    assert loaded_by("from mboxgen import cli") == set()


def loaded_by(code: str) -> set[str]:
    """Run code in a process of its own; give the modules that it imported of those that take long."""
    script = f"import sys\n{code}\nprint(*{{'numpy', 'numpy.ma', 'faker', 'rich'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_corpus_needs_neither_faker_nor_rich_nor_masked_arrays(tmp_path: Path) -> None:
    arguments = ["mboxgen", str(tmp_path / "a.mbox"), "--preset", "list-2017", "--count", "10"]
    code = f"from mboxgen.cli import commands\ncommands.main({arguments[1:]!r}, standalone_mode=False)"
    assert loaded_by(code) == {"numpy"}


@pytest.mark.parametrize("command", [(), ("info",), ("verify",), ("make",)])
def test_h_asks_for_help_everywhere(mboxgen: Run, command: tuple[str, ...]) -> None:
    asked, spelled = mboxgen(*command, "-h"), mboxgen(*command, "--help")
    assert (asked.returncode, asked.stdout) == (0, spelled.stdout)
    assert asked.stdout.startswith("Usage: mboxgen")


@pytest.mark.parametrize("command", [(), ("info",), ("help",)])
def test_help_is_a_command_too(mboxgen: Run, command: tuple[str, ...]) -> None:
    assert mboxgen("help", *command).stdout == mboxgen(*command, "--help").stdout
    assert mboxgen("help", "nfo").returncode == 2


def test_without_arguments_it_helps(mboxgen: Run) -> None:
    assert "Usage: mboxgen PATH" in mboxgen().stdout
    assert re.fullmatch(r"mboxgen \S+\n", mboxgen("--version").stdout)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["a.mbox"], "which sizes?"),
        (["a.mbox", "--size", "60kb"], "how many messages"),
        (["a.mbox", "--size", "60kb", "--count", "0"], 'count must be 1 to 10000000000, got "0"'),
        (["a.mbox", "--size", "60kb", "--count", "-1"], 'got "-1"'),
        (["a.mbox", "--size", "60kb", "--count", "3", "--total-size", "1MB"], "give one of them"),
        (["a.mbox", "--size", "10", "--count", "3"], "has at least 2"),
        (["a.mbox", "--size", "10xb", "--count", "3"], 'got "10xb"'),
        (["a.mbox", "--size", "10kb:1.5"], "counts must be whole numbers"),
        (["a.mbox", "--size", "10kb:2", "--size", "5kb"], "how many messages"),
        (["a.mbox", "--preset", "spec2002", "--count", "3"], 'did you mean "spec2001"'),
        (["a.mbox", "--preset", "spec2001", "--size", "1kb", "--count", "3"], "give one of them"),
        (["a.mbox", "--size", "1kb", "--count", "3", "--seed", "-1"], 'seed must be 0 to 2^128 - 1, got "-1"'),
        (["a.mbox", "--size", "1kb", "--count", "3", "--seed", str(2**128)], "seed must be 0 to 2^128 - 1"),
        (["a.mbox", "--size", "1kb", "--count", "3", "--fault", "dots"], "expected FAULT:RATE"),
        (["a.mbox", "--size", "1kb", "--count", "3", "--fault", "nul:2"], "a rate must be from 0 to 1"),
        (["a.mbox", "--size", "1kb", "--count", "3", "--fault", "nul", "--fault", "nul:0.1"], "given twice"),
        (["a.mbox", "--size", "1kb", "--count", "3", "--fault", "bare-lf", "--eol", "lf"], "use --eol crlf"),
        (["a.mbox", "--size", "1kb", "--count", "3", "--smtputf8", "nan"], "smtputf8 must be 0 to 1"),
        (["a.mbox", "--size", "1kb", "--count", "3", "--days", "0"], "days must be 1 to 36525"),
        (["a.mbox", "--size", "1kb", "--count", "3", "--start", "tomorrow"], "tomorrow"),
        (["a.mbox", "--size", "1kb", "--count", "3", "--workers", "0"], "--workers"),
        (["a.mbox", "--sise", "1kb"], "--size"),
        (["a.mbox", "b.mbox", "--size", "1kb:1"], "b.mbox"),
        (["--size", "1kb:1"], "missing argument 'PATH'"),
        (["info"], "missing argument 'PATH'"),
        (["inof", "a.mbox"], 'no such command "inof"; did you mean info?'),
        (["verfy"], 'no such command "verfy"; did you mean verify?'),
        (["Info", "a.mbox", "b.mbox", "--all"], "did you mean info?"),
        (["verify", "--wat"], 'no such option "--wat"; see mboxgen verify --help'),
        (["a.mbox", "--total_size", "1kb"], 'no such option "--total_size"; did you mean --total-size?'),
    ],
)
def test_wrong_usage_is_told_in_one_line_with_exit_code_2(
    mboxgen: Run, tmp_path: Path, arguments: list[str], fragment: str
) -> None:
    done = mboxgen(*arguments)
    assert done.returncode == 2
    assert fragment in done.stderr
    assert done.stderr.startswith("mboxgen: ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("toml", "fragment"),
    [
        ('preset = "spec2001"\ncout = 3\n', 'unknown field "cout" in "r.toml"; did you mean "count"?'),
        ('preset = "spec2001"\ncount = "3"\n', 'field "count" in "r.toml": expected a whole number, got \'3\''),
        ('preset = "spec2002"\ncount = 3\n', 'did you mean "spec2001"?'),
        ('sizes = ["1kb"]\npreset = "spec2001"\ncount = 3\n', "says the sizes twice"),
        ("count = ", "expected a TOML file"),
        ('sizes = ["1kb"]\ncount = 3\neol = "cr"\n', 'expected "crlf" or "lf"'),
        ('sizes = ["1kb"]\ncount = 3\nbody = 5\n', 'expected "prose" or "noise"'),
    ],
)
def test_a_wrong_recipe_is_told_by_field(mboxgen: Run, tmp_path: Path, toml: str, fragment: str) -> None:
    (tmp_path / "r.toml").write_text(toml)
    done = mboxgen("a.mbox", "--recipe", "r.toml")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert fragment in done.stderr


def test_a_manifest_is_a_recipe_for_the_same_corpus(mboxgen: Run, tmp_path: Path) -> None:
    options = ("--preset", "list-2017", "--count", "40", "--seed", "3", "--fault", "nul:0.5", "--eol", "lf")
    assert mboxgen("a.mbox", *options).returncode == 0
    assert mboxgen("b.mbox", "--recipe", "a.mbox.manifest.json").returncode == 0
    assert (tmp_path / "a.mbox").read_bytes() == (tmp_path / "b.mbox").read_bytes()


@pytest.mark.parametrize("version", [1, 2, 7])
def test_what_would_not_give_the_same_corpus_is_refused_and_told_by_verify(
    mboxgen: Run, tmp_path: Path, version: int
) -> None:
    assert mboxgen("a.mbox", "--size", "1kb:3").returncode == 0
    path = tmp_path / "a.mbox.manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": version}))
    fragment = f"it was made in format {version}, this mboxgen makes format 3"
    refused = mboxgen("b.mbox", "--recipe", path.name)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert f'the recipe in "{path.name}" would give another corpus here: {fragment}' in refused.stderr
    verified = mboxgen("verify", "a.mbox")
    assert (verified.returncode, "all as they were made" in verified.stdout) == (0, True)
    assert fragment in verified.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": 5}', '{"recipe": {"sizes": ["1kb:1"]}}'])
def test_what_is_no_manifest_is_told_in_one_line(mboxgen: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    done = mboxgen("b.mbox", "--recipe", "a.json")
    assert (done.returncode, done.stderr) == (2, 'mboxgen: expected the manifest of a corpus, "a.json" is none\n')


def test_a_fault_hits_only_messages_with_room_and_says_how_many_had_none(mboxgen: Run, tmp_path: Path) -> None:
    options = ("--size", "600:300", "--size", "4kb:100", "--fault", "long-line", "--fault", "nul:0")
    said = mboxgen("a.mbox", *options).stderr.splitlines()
    assert said[1:] == ["fault long-line: 300 messages drawn for it had no room for it and went without"]
    lengths = [max(map(len, bytes(message).split(b"\r\n"))) for message in read_mbox(tmp_path / "a.mbox")]
    assert sum(length > 998 for length in lengths) == 100


def test_faults_that_fit_alone_but_not_together_hit_in_the_order_given(mboxgen: Run, tmp_path: Path) -> None:
    both = ("--fault", "long-line", "--fault", "leading-dot")
    size = smallest(Recipe(("1kb",), count=1)) + len(FAULTS["long-line"].body) + 5
    said = mboxgen("a.mbox", "--size", f"{size}:7", *both).stderr.splitlines()
    assert said[1:] == ["fault leading-dot: 7 messages drawn for it had no room for it and went without"]
    assert mboxgen("verify", "a.mbox").returncode == 0


def test_an_interruption_that_got_lost_in_an_import_still_stops_it(
    mboxgen: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(locale: str) -> list[str]:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return names(locale)

    names = vocabulary.first_names
    monkeypatch.setattr(vocabulary, "first_names", lost)
    people.gather.cache_clear()
    done = mboxgen("a.mbox", "--size", "1kb:3")
    people.gather.cache_clear()
    assert (done.returncode, list(tmp_path.iterdir())) == (105, [])


def test_options_win_over_the_recipe(mboxgen: Run, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('sizes = ["1kb", "2kb"]\ntotal_size = "1MB"\nseed = 3\nstart = 2025-01-31\n')
    assert mboxgen("a.mbox", "--recipe", "r.toml", "--count", "7").returncode == 0
    assert "7 messages" in mboxgen("info", "a.mbox").stdout


def test_what_cannot_be_done_is_exit_code_1(mboxgen: Run, tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(b"mine")
    refused = [
        mboxgen("a.mbox", "--size", "1kb:3"),
        mboxgen("nowhere/a.mbox", "--size", "1kb:3"),
        mboxgen("info", "a.mbox"),
        mboxgen("info", "missing"),
        mboxgen("verify", "a.mbox"),
        mboxgen("verify", "missing"),
    ]
    for done in refused:
        assert done.returncode == 1
        assert done.stderr.startswith("mboxgen: ")
        assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "a.mbox").read_bytes() == b"mine"
    assert 'cannot read "missing": No such file' in refused[-1].stderr


def test_verify_finds_every_change_with_exit_code_99(mboxgen: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.mbox"
    assert mboxgen("a.mbox", "--size", "9kb:50").returncode == 0
    sound, record = path.read_bytes(), index.path_of(path).read_bytes()
    assert mboxgen("verify", "a.mbox").returncode == 0
    changes = {
        "octets were changed": (sound[:200_000] + b"X" + sound[200_001:], record),
        "no From_ line before it": (sound[:9_064] + sound[9_064:].replace(b"\nFrom ", b"\nfrom ", 1), record),
        "its index was made for": (sound[:-1], record),
        "the index itself was changed": (sound, record[:1_000] + bytes([record[1_000] ^ 1]) + record[1_001:]),
        "cut short": (sound, record[:-32]),
    }
    for words, (octets, records) in changes.items():
        path.write_bytes(octets)
        index.path_of(path).write_bytes(records)
        done = mboxgen("verify", "a.mbox")
        assert done.returncode == 99, words
        assert words in done.stdout


def test_verify_counts_what_is_broken_and_names_the_first_ten(mboxgen: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.mbox"
    assert mboxgen("a.mbox", "--size", "1kb:40").returncode == 0
    octets = bytearray(path.read_bytes())
    with open_mbox(path) as mbox:
        offsets, headers = mbox.records["offset"].tolist(), mbox.records["header_length"].tolist()
    for number in range(5, 20):
        octets[offsets[number] + (headers[number] + 3 if number % 2 else 3)] ^= 1
    path.write_bytes(octets)
    said = mboxgen("verify", "a.mbox").stdout.splitlines()
    what = {0: "its header was changed", 1: "its octets were changed"}
    assert said[:-1] == [f"message {number}: {what[number % 2]}" for number in range(5, 15)]
    assert said[-1] == "a.mbox: 15 of 40 messages broken"


def test_info_reads_foreign_files_and_names_what_is_odd(mboxgen: Run, tmp_path: Path) -> None:
    line = b"From a@b.example Fri Nov 21 22:55:00 2025\n"
    first = b"From: a@b\nDate: x\nMessage-ID: <1@a>\n\n.dot\n"
    second = b'Content-Type: multipart/mixed; boundary="x"\n\n--x\n\nno end\n'
    (tmp_path / "a.mbox").write_bytes(line + first + b"\n" + line + second)
    said = mboxgen("info", "a.mbox").stdout
    for words in (
        "2 messages", "line ends LF", "none, scanned", "multipart/mixed", "no Content-Type", "no Date field",
        'lines that begin with "."', "a multipart that never ends",
    ):  # fmt: skip
        assert words in said


def test_the_same_command_gives_the_same_corpus(mboxgen: Run, tmp_path: Path) -> None:
    for name, workers in (("a", "1"), ("b", "2")):
        done = mboxgen(name, "--preset", "list-2017", "--count", "1100", "--seed", "7", "--workers", workers)
        assert done.returncode == 0
        assert "1,100 messages" in done.stderr
        assert done.stdout == ""
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("words", [("--size", "1kb:1"), ("--size", "1kb:1", "--format", "maildir")])
def test_a_name_that_no_file_may_have_is_told_in_one_line(
    mboxgen: Callable[..., subprocess.CompletedProcess[str]], words: tuple[str, ...], tmp_path: Path
) -> None:
    done = mboxgen("a" * 300, *words)
    assert done.returncode == 1
    assert done.stderr == f'mboxgen: cannot write "{"a" * 300}": File name too long; give another name\n'
    assert list(tmp_path.iterdir()) == []
