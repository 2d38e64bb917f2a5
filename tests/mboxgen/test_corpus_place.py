"""Where a corpus goes, and what stays of one that was not finished."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mboxgen import GenerateError, GenerateProgress, Recipe, generate
from mboxgen.corpus import worker_process
from mboxgen.corpus.verify import verify
from mboxgen.recipe.recipe import Format
from tests.mboxgen.corpora import forked


@pytest.mark.usefixtures("many_workers")
class TestNothingHalfMadeStays:
    def test_when_a_worker_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        start = worker_process.start

        def doomed(*arguments: Any) -> Any:
            process, pipe = start(*arguments)
            process.kill()
            process.wait()
            return process, pipe

        monkeypatch.setattr(worker_process, "start", doomed)
        with pytest.raises(GenerateError, match="was killed by signal 9; nothing was left"):
            generate(Recipe(("1kb",), count=20_000), tmp_path / "a.mbox", workers=2)
        assert list(tmp_path.iterdir()) == []

    def test_when_a_worker_is_killed_at_work(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        processes: list[worker_process.WorkerProcess] = []
        start = worker_process.start

        def noted(*arguments: Any) -> Any:
            process, pipe = start(*arguments)
            processes.append(process)
            return process, pipe

        def kill_one(made: GenerateProgress) -> None:
            if made.messages > 20_000:
                processes[1].kill()

        monkeypatch.setattr(worker_process, "start", noted)
        with pytest.raises(GenerateError, match="was killed by signal 9"):
            generate(Recipe(("1kb",), count=50_000), tmp_path / "a.mbox", workers=2, progress=kill_one)
        assert list(tmp_path.iterdir()) == []
        assert all(process.wait(10) == -9 for process in processes)

    @pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
    def test_when_a_forked_worker_is_killed(self, tmp_path: Path) -> None:
        kill = "lambda made: made.messages > 20_000 and os.kill(int(workers()[1]), 9)"
        done = forked(f"generate(Recipe(('1kb',), count=50_000), 'a.mbox', workers=2, progress={kill})", tmp_path)
        assert "GenerateError: worker" in done.stderr
        assert "was killed by signal 9; nothing was left" in done.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("workers", [1, 2])
    def test_when_it_is_interrupted(self, tmp_path: Path, workers: int) -> None:
        def stop(made: GenerateProgress) -> None:
            if made.messages > 10_000:
                raise KeyboardInterrupt

        (tmp_path / "a.mbox").write_bytes(b"older")
        with pytest.raises(KeyboardInterrupt):
            generate(Recipe(("1kb",), count=30_000), tmp_path / "a.mbox", workers=workers, force=True, progress=stop)
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.mbox"]
        assert (tmp_path / "a.mbox").read_bytes() == b"older"

    @pytest.mark.parametrize("workers", [1, 2])
    def test_when_the_file_may_not_grow(self, tmp_path: Path, workers: int) -> None:
        script = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, 2**24))\n"
            "from mboxgen.corpus import worker_pool; worker_pool.worker_count = lambda most, *_: most\n"
            "from mboxgen.cli import main; main()"
        )
        arguments = [str(tmp_path / "a.mbox"), "--size", "1kb", "--count", "30000", "--workers", str(workers)]
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1
        assert "largest size allowed" in done.stderr
        assert "nothing was left behind" in done.stderr
        assert "Traceback" not in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_when_the_disk_is_full(self, tmp_path: Path) -> None:
        with pytest.raises(GenerateError, match="no room for 90 PB"):
            generate(Recipe(("900MB",), count=10**8), tmp_path / "a.mbox")
        assert list(tmp_path.iterdir()) == []

    def test_when_there_is_no_room_for_a_total_no_message_is_counted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mboxgen.recipe.plan.make", pytest.fail)
        with pytest.raises(GenerateError, match="no room for 90 PB"):
            generate(Recipe(("1kB",), total_octets=90 * 10**15), tmp_path / "a.mbox")

    def test_when_the_disk_fills_up_on_the_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import errno

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwritev", full)
        with pytest.raises(GenerateError, match="the disk is full; nothing was left behind"):
            generate(Recipe(("60kb",), count=10), tmp_path / "a.mbox")
        assert list(tmp_path.iterdir()) == []

    def test_when_the_command_is_told_to_stop(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "from mboxgen.cli import main; main()", "a.mbox", "--size", "1kb"]
        process = subprocess.Popen([*command, "--count", "2000000"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        while not list(tmp_path.glob(".a.mbox.partial-*.idx")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 105
        assert "interrupted; nothing half-made was left" in said
        assert list(tmp_path.iterdir()) == []


class TestPlace:
    recipe = Recipe(("1kb",), count=3)

    def test_an_existing_file_is_kept_without_force(self, tmp_path: Path) -> None:
        (tmp_path / "a.mbox").write_bytes(b"mine")
        with pytest.raises(GenerateError, match="--force to replace"):
            generate(self.recipe, tmp_path / "a.mbox")
        assert (tmp_path / "a.mbox").read_bytes() == b"mine"
        generate(self.recipe, tmp_path / "a.mbox", force=True)
        assert verify(tmp_path / "a.mbox").messages == 3

    def test_a_folder_of_others_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "letter").write_bytes(b"mine")
        for kind in Format:
            with pytest.raises(GenerateError, match="did not make"):
                generate(Recipe(("1kb",), count=3, format=kind), tmp_path / "home", force=True)
        assert (tmp_path / "home" / "letter").exists()

    def test_a_folder_of_ours_is_replaced_with_force(self, tmp_path: Path) -> None:
        for count in (5, 3):
            generate(Recipe(("1kb",), count=count, format=Format.EML_DIR), tmp_path / "dir", force=True)
        assert len(list((tmp_path / "dir").iterdir())) == 3

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(GenerateError, match="does not exist; make it first"):
            generate(self.recipe, tmp_path / "nowhere" / "a.mbox")

    def test_any_file_name_will_do(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mbox"))
        generate(self.recipe, path)
        assert verify(path).sound


@pytest.mark.parametrize("recipe", ["('400MB',), count=1", "('1kb',), count=30_000", "('300kb',), count=1_200"])
def test_memory_stays_bounded_whatever_the_corpus(tmp_path: Path, recipe: str) -> None:
    script = (
        "import sys; from pathlib import Path; from mboxgen import Recipe, generate\n"
        f"generate(Recipe({recipe}), sys.argv[1])\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.mbox"], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) < 120_000
