"""From a recipe to a corpus on the disk, whole or not at all.

Takes     a Recipe, a path, the most workers there may be
Gives     the corpus, its index (mbox only) and its manifest; the same octets for any number of workers
Refuses   to overwrite without `force`, or to replace a folder that is no corpus of ours
Fails     GenerateError when the disk is full, a worker dies, the place cannot be written; nothing half-made stays
Links     with `force`, a symbolic link at the path is replaced, and what it leads to stays: the index belongs beside it
Not here  what a block holds (blocks), how it is written (writer), the conversation with workers (worker_pool)
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mboxgen import checksums
from mboxgen.corpus import manifest, worker_pool
from mboxgen.corpus.worker import Job
from mboxgen.mbox import index
from mboxgen.message.smallest import check_sizes
from mboxgen.recipe import plan
from mboxgen.recipe.recipe import Format, Recipe
from mboxgen.recipe.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mboxgen.mbox.writer import Written
    from mboxgen.recipe.plan import CorpusPlan

_MORE_THAN_FREE = 0.97  # an expected size is a mean; below this share of it a corpus surely does not fit


class GenerateError(RuntimeError):
    """A corpus that could not be made; the text says why, and that nothing was left behind."""


@dataclass(frozen=True, slots=True)
class GenerateProgress:
    """How far it is."""

    messages: int
    of_messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class GeneratedCorpus:
    """A finished corpus, and how many processes made it.

    `missed` counts for each fault the messages drawn for it that had no room for it.
    """

    path: Path
    messages: int
    delivered_octets: int
    octets: int
    seconds: float
    missed: Mapping[str, int]
    workers: int


def generate(
    recipe: Recipe,
    path: os.PathLike[str] | str,
    *,
    workers: int = 1,
    force: bool = False,
    progress: Callable[[GenerateProgress], None] | None = None,
) -> GeneratedCorpus:
    """Make the corpus that `recipe` describes at `path`, with at most so many workers: no more than make it sooner.

    RecipeError when the recipe cannot be carried out, GenerateError when the system does not let us. On these, and on
    KeyboardInterrupt, what was half made is removed.
    """
    path = Path(path)
    if workers < 1:
        raise ValueError(f"at least one worker is needed, got {workers}")
    begun = time.monotonic()
    _check_place(path, recipe.format, force)
    check_sizes(recipe)
    _check_room(path, recipe.total_octets or 0)  # before messages are counted that there is no room for
    counted = plan.make(recipe)
    _check_room(path, counted.expected_octets)
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(8)}")  # never one that is there
    try:
        with _sigxfsz_ignored():
            pool = worker_pool.BlockWorkers(Job(counted, partial), workers)
            total = _fill(counted, partial, pool, progress)
            _publish(path, partial, counted, total)
    except OSError as error:
        raise GenerateError(_words(error, path)) from error
    except worker_pool.WorkerPoolError as error:
        raise GenerateError(f'{error}; nothing was left at "{path}"') from None
    finally:
        for leftover in _partials(partial):
            _remove(leftover)
    return GeneratedCorpus(
        path, counted.messages, total.delivered, total.octets, time.monotonic() - begun, total.missed, pool.workers
    )


@dataclass(slots=True)
class _Total:
    """Sums over the blocks so far, in order."""

    messages: int = 0
    octets: int = 0
    delivered: int = 0
    crc32: int = 0
    missed: Counter[str] = field(default_factory=Counter)

    def add(self, written: Written) -> None:
        self.messages += len(written.records)
        self.octets += written.octets
        self.delivered += int(written.records["delivered"].sum(dtype="u8"))
        self.crc32 = checksums.join(self.crc32, written.crc32, written.octets)
        self.missed.update(written.missed)


def _fill(
    counted: CorpusPlan,
    partial: Path,
    pool: worker_pool.BlockWorkers,
    progress: Callable[[GenerateProgress], None] | None,
) -> _Total:
    """Make every block; the index grows with them, in order."""
    total = _Total()
    one_file = counted.recipe.format is Format.MBOX
    _create(partial, counted.recipe.format)
    with index.Writer(_partial_index(partial)) as writer:
        for written in pool.blocks():
            total.add(written)
            if one_file:
                writer.add(written.records)
            if progress:
                progress(GenerateProgress(total.messages, counted.messages, total.octets))
        if one_file:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            writer.finish(partial)
    return total


def _create(partial: Path, kind: Format) -> None:
    if kind is Format.MBOX:
        partial.touch(exist_ok=False)
        return
    partial.mkdir()
    if kind is Format.MAILDIR:
        for name in ("cur", "new", "tmp"):
            (partial / name).mkdir()


def _publish(path: Path, partial: Path, counted: CorpusPlan, total: _Total) -> None:
    """Give the finished corpus its names; an index that belongs to an older file is gone before."""
    described = _partial_manifest(partial)
    with described.open("x", encoding="utf-8") as file:
        json.dump(_manifest(counted.recipe, total), file, indent=2)
        file.write("\n")
        os.fsync(file.fileno())
    index.path_of(path).unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    partial.replace(path)
    if counted.recipe.format is Format.MBOX:
        _partial_index(partial).replace(index.path_of(path))
    described.replace(manifest.path_of(path))


def _manifest(recipe: Recipe, total: _Total) -> dict[str, Any]:
    file: dict[str, Any] = {"octets": total.octets}
    if recipe.format is Format.MBOX:
        file["crc32"] = f"{total.crc32:08x}"
    return manifest.describe(recipe, total.messages, total.delivered, file)


def _check_place(path: Path, kind: Format, force: bool) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise GenerateError(f'cannot write "{path}": the folder "{folder}" does not exist; make it first')
    if not os.access(folder, os.W_OK | os.X_OK):
        raise GenerateError(f'cannot write "{path}": no permission to write in "{folder}"')
    try:
        there = path.exists() or path.is_symlink()
    except OSError as error:
        raise GenerateError(f'cannot write "{path}": {error.strerror}; give another name') from None
    if not there:
        return
    if path.is_dir() and (kind is Format.MBOX or (any(path.iterdir()) and not manifest.path_of(path).exists())):
        raise GenerateError(f'"{path}" is a folder that mboxgen did not make; give another name')
    if path.exists() and not path.is_dir() and not path.is_file():
        raise GenerateError(f'"{path}" is not a regular file; give another name')
    if not force:
        raise GenerateError(f'"{path}" exists; give another name, or --force to replace it')
    if path.is_file() and kind is not Format.MBOX:
        raise GenerateError(f'"{path}" is a file, --format {kind.value} makes a folder; give another name')


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed * _MORE_THAN_FREE > free:
        raise GenerateError(
            f'no room for {format_size(needed)} in "{path.parent}": {format_size(free)} is free; '
            "write elsewhere or ask for less"
        )


def _words(error: OSError, path: Path) -> str:
    reasons = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "the file grew beyond the largest size allowed here (ulimit -f)",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return f'cannot write "{path}": {reason}; nothing was left behind'


def _partial_index(partial: Path) -> Path:
    return partial.with_name(partial.name + ".idx")


def _partial_manifest(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _partials(partial: Path) -> Iterator[Path]:
    yield from (partial, _partial_index(partial), _partial_manifest(partial))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _sigxfsz_ignored() -> Iterator[None]:
    """Turn SIGXFSZ into OSError: by itself it would end the process and leave half a corpus."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGXFSZ"):
        yield
        return
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGXFSZ, before)
