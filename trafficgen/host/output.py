"""The files that a command was told to write, each with the option that named it.

Takes     a path and an option; later what is to stand there
Gives     each file whole or not at all (`mboxgen.atomic_file`); "-" is for the caller
Fails     PlanError before the run for a path that cannot be written, OutputError later, which names path and option
Not here  what the files hold (report, measure)
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mboxgen import atomic_file
from mboxgen.console import StdoutError
from trafficgen.errors import OutputError, PlanError


@dataclass(frozen=True, slots=True)
class Output:
    """One file. `option` names it in errors, as the user knows it: `--json`, `GITHUB_STEP_SUMMARY`."""

    path: Path
    option: str

    def check(self) -> None:
        """Find out before the run that it cannot be written; whatever is there stays until there are results."""
        try:
            atomic_file.check(self.path)
        except (OSError, ValueError) as error:
            field = self.option[2:].replace("-", "_")
            raise PlanError(f'cannot write "{self.path}": {_reason(error)}', field=field, flag=self.option) from error

    @contextmanager
    def replacing(self, *, sync: bool = True) -> Iterator[IO[bytes]]:
        """What is written in the block becomes the file when it ends well."""
        try:
            with atomic_file.replacing(self.path, sync=sync) as file:
                yield file
        except OSError as error:
            raise self._failed(_reason(error)) from error

    def write(self, text: str, *, sync: bool = True) -> None:
        """Let the file hold this."""
        with self.replacing(sync=sync) as file:
            file.write(text.encode("utf-8"))

    def append(self, text: str, *, sync: bool = False) -> None:
        """Put this behind what the file holds, all or nothing of it."""
        try:
            atomic_file.append(self.path, text.encode("utf-8"), sync=sync)
        except OSError as error:
            raise self._failed(_reason(error)) from error

    def _failed(self, reason: str) -> OutputError:
        return OutputError(f'cannot write "{self.path}": {reason} ({self.option})')


def attempt_all(steps: Iterable[tuple[str, Callable[[], None]]], *, failed: Sequence[OutputError] = ()) -> None:
    """Take every step, whatever becomes of the others; each has a name for errors. `failed`: outputs lost before.

    OutputError afterwards, with a sentence for each that failed: also when the mistake is ours, because an account must
    not be lost with the page that cannot be drawn from it.
    """
    told = [str(error) for error in failed]
    for name, step in steps:
        try:
            step()
        except OutputError as error:
            told.append(str(error))
        except BrokenPipeError:
            raise  # nobody reads any more
        except StdoutError as error:
            told.append(str(error))
        except OSError as error:
            told.append(f"cannot write to {name}: {_reason(error)}")
        except Exception as error:  # said, and ends the command with 1
            told.append(f"cannot write {name}: {described(error)}")
    if told:
        raise OutputError("; ".join(told))


def described(error: Exception) -> str:
    """A mistake of ours in a line: what, and where."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}: {str(error)[:200]}{where}"


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error).lower()
