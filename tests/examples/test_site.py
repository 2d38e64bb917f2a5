"""The book made of docs/: whole, with every link leading somewhere, and without anything fetched from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def build(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    strict = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        str(DOCS / "site"),
        "-d",
        str(folder / "kept"),
    ]
    return subprocess.run([*strict, source, folder / "site"], capture_output=True, text=True, check=False)


def test_the_book_is_built_without_a_warning(tmp_path: Path) -> None:
    done = build(DOCS, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 25
    fetched = r"<(?:link|script|img|iframe)[^>]*(?:href|src)=\"(?:https?:)?//"
    assert [page.name for page in pages if re.search(fetched, page.read_text())] == []
    styles = [path.read_text() for path in (tmp_path / "site").rglob("*.css")]
    assert [text for text in styles if re.search(r"@import|url\([\"']?(https?:)?//", text)] == []


def test_a_link_that_leads_nowhere_and_a_page_out_of_every_menu_are_errors(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.md").write_text(
        "# A\n\n[a](none.md) [b](#none) [c](none.py) [d](other.md#none) [e](../none.md)\n"
    )
    (tmp_path / "pages/other.md").write_text("# Other\n")
    done = build(tmp_path / "pages", tmp_path)
    assert done.returncode == 1
    assert all(f"'{name}'" in done.stderr for name in ("none.md", "none", "none.py"))
    assert "local id not found in doc 'other': 'none'" in done.stderr
    assert "download file not readable" in done.stderr
    assert "document isn't included in any toctree" in done.stderr


def test_results_that_pages_name_are_there() -> None:
    pages = [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
    named = {
        (page.name, name) for page in pages for name in re.findall(r"benchmarks/results/[\w.-]+\w", page.read_text())
    }
    assert {page for page, _ in named} >= {"README.md", "speed.md", "gate.md", "measuring.md", "design.md"}
    assert [(page, name) for page, name in named if not (DOCS.parent / name).is_file()] == []


SPEED = re.compile(r"(?<![`\w])\d[\d.,]*(?: [\w.]+){0,5} (?:a|per) second|\b\d[\d.,]* [kMG]B/s|(?<!`)\b\d{1,3},\d{3}/s")
RECKONED = {"find-its-limit.md"}  # sessions by the time of one message, and a ramp that its command names


def test_a_page_with_a_measured_speed_names_the_file_of_its_results() -> None:
    unnamed: list[str] = []
    speeds: set[str] = set()
    for page in (DOCS.parent / "README.md", *DOCS.rglob("*.md")):
        text = re.sub(r"```.*?```|<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
        if page.name in RECKONED | {"cli.md"} or not SPEED.search(text):
            continue
        speeds.add(page.name)
        if "benchmarks/results/" not in text:
            unnamed.append(page.name)
    assert unnamed == []
    assert speeds >= {"README.md", "speed.md", "corpora.md", "cluster.md"}


def test_the_power_of_the_gate_is_what_its_benchmark_wrote() -> None:
    written = (DOCS.parent / "benchmarks/results/2026-11-27-slice-power.md").read_text().splitlines()
    by_slices, _, _ = (DOCS / "explained/gate.md").read_text().partition("## By whole runs")
    rows = [line for line in by_slices.splitlines() if re.match(r"\| [^\[].*%", line)]
    assert len(rows) > 45
    assert [row for row in rows if row not in written] == []


def test_gates_of_real_servers_ended_as_the_page_says() -> None:
    rows = re.findall(r"^\| \[.*?\]\((.*?)\) \|(.*)\|$", (DOCS / "explained/gate.md").read_text(), re.MULTILINE)
    assert len(rows) == 5
    for name, row in rows:
        text = (DOCS / "explained" / name).read_text()
        _, gates, passed, failed, unknown, invalid, times, others = (cell.strip() for cell in row.split("|"))
        median, longest = times.split(", ")
        assert (
            f"**{gates} of {gates} gates: {passed} PASS, {failed} FAIL, {unknown} INCONCLUSIVE, {invalid} not valid; "
            f"time {median} (median), {longest} (longest).**"
        ) in text
        taken = [int(share) for share in re.findall(r"\| (\d+)% \|", text)]
        assert others == f"{min(taken)} to {max(taken)} %"
