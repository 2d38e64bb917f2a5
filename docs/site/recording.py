"""Record a run as an animated SVG, readable on light and dark pages: `python docs/site/recording.py > docs/run.svg`.

Takes     nothing; runs the command of the README, with fewer messages
Gives     its lines as they came, at their times; whoever asks for less motion sees all at once
Fails     when the command does
"""

import subprocess
import sys
import time
from html import escape

COMMAND = "traffic-gen --message-count 100000 --domain gmail.com:67.4 --domain yahoo.com:5.9"
_LEFT_OUT = ("phases", "replies", "domains", "run ", "begun", "content", "seed")
_LINE, _COLUMN, _MARGIN = 18, 7.85, 16
_HOLD_S = 8

_STYLE = """
.t{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d7dce2;white-space:pre}
.c{fill:#8fd3ff}.g{fill:#9be28f}
@media (prefers-reduced-motion:no-preference){.l{opacity:0}}
"""


def main() -> None:
    """Run it, and print the picture."""
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "trafficgen", *COMMAND.split()[1:]],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said = [(time.monotonic() - began, line.rstrip()) for line in process.stdout]
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}")
    sys.stdout.write(picture(_shortened(said)) + "\n")


def _shortened(said: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Without the sections that say more than a first look needs."""
    kept, leaving = [], False
    for at_s, line in said:
        if line and not line.startswith(" "):
            leaving = line.startswith(_LEFT_OUT)
        if not leaving:
            kept.append((at_s, line))
    return kept


def picture(said: list[tuple[float, str]]) -> str:
    """The SVG: a line appears at its time, and all begins anew some seconds after the last."""
    lines = [(0.0, f"$ {COMMAND}"), *said]
    whole_s = lines[-1][0] + _HOLD_S
    width = int(max(len(line) for _, line in lines) * _COLUMN) + 2 * _MARGIN
    height = len(lines) * _LINE + 2 * _MARGIN
    rows, frames = [], []
    for number, (at_s, line) in enumerate(lines):
        start = 100 * at_s / whole_s
        frames.append(
            f"@keyframes a{number}{{0%,{start:.2f}%{{opacity:{int(start == 0)}}}{start + 0.01:.2f}%,100%{{opacity:1}}}}"
            f"#r{number}{{animation:a{number} {whole_s:.1f}s infinite}}"
        )
        kind = "t c l" if number == 0 else "t g l" if "0 missing" in line else "t l"
        y = _MARGIN + _LINE * (number + 1) - 5
        rows.append(
            f'<text id="r{number}" class="{kind}" x="{_MARGIN}" y="{y}" xml:space="preserve">{escape(line)}</text>'
        )
    moving = f"@media (prefers-reduced-motion:no-preference){{{''.join(frames)}}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">'
        f"<title>A run of traffic-gen: {escape(COMMAND)}</title><style>{_STYLE}{moving}</style>"
        f'<rect width="{width}" height="{height}" rx="8" fill="#1b2028" stroke="#4a5361"/>{"".join(rows)}</svg>'
    )


if __name__ == "__main__":
    main()
