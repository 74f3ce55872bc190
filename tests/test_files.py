"""Files that appear whole or not at all, whatever fails, and what a killed writer leaves."""

import errno
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.unprivileged import unprivileged
from xpnet.errors import OutputError
from xpnet.files import check_writable, lock, write_file

OLD, NEW = b"the older file", b"the newer file " * 1000


def refuses(*words):
    """Expect an `OutputError` with all *words* in its message."""
    return pytest.raises(OutputError, match="".join(f"(?=.*{word})" for word in words))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


def only(path):
    """Nothing lies in the folder of *path* but that file."""
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


# --- what fails changes nothing -------------------------------------------------------------------


def failing(error, original=None, after=0):
    """A function that raises *error*, from the call after the first *after* on."""
    calls = []

    def function(*args, **kwargs):
        calls.append(args)
        if len(calls) > after:
            raise error
        return original(*args, **kwargs)

    return function


class Full:
    """A file on a full disk: some bytes go in, then none."""

    def __init__(self, file, error):
        self.file, self.error = file, error

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.file.close()

    def write(self, content):
        self.file.write(content[:100])
        raise self.error

    def __getattr__(self, name):
        return getattr(self.file, name)


def break_write(monkeypatch, error):
    real = io.open

    def opened(file, mode="r", *args, **kwargs):
        found = real(file, mode, *args, **kwargs)
        return Full(found, error) if mode == "xb" else found

    monkeypatch.setattr(io, "open", opened)  # pathlib's


def break_sync(monkeypatch, error):
    monkeypatch.setattr(os, "fsync", failing(error))


def break_rename(monkeypatch, error):
    monkeypatch.setattr(os, "replace", failing(error))


BREAKS = [break_write, break_sync, break_rename]


@pytest.mark.parametrize("older", [True, False], ids=["over an older file", "a new file"])
@pytest.mark.parametrize("break_it", BREAKS)
def test_a_write_that_fails_changes_nothing(path, monkeypatch, break_it, older):
    if older:
        path.write_bytes(OLD)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        break_it(patch, full)
        words = (
            "model.h5: expected a place that can be written; got: No space left on device; choose",
        )
        with refuses(*words):
            write_file(path, NEW)
    if older:
        assert path.read_bytes() == OLD
        assert only(path)
    else:
        assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("break_it", BREAKS)
def test_an_interrupted_write_changes_nothing(path, monkeypatch, break_it):
    path.write_bytes(OLD)
    with monkeypatch.context() as patch:
        break_it(patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            write_file(path, NEW)
    assert path.read_bytes() == OLD
    assert only(path)


def test_an_error_without_a_number_is_told_too(path, monkeypatch):
    break_sync(monkeypatch, OSError("the network is gone"))
    with refuses("expected a place that can be written; got: the network is gone; choose"):
        write_file(path, NEW)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1] + b"?",
        lambda content: b"?" + content[1:],
        lambda content: content[:-1],
        lambda content: content + b"?",
    ],
    ids=["changed at the end", "changed at the start", "too short", "too long"],
)
@pytest.mark.parametrize("new", [NEW, bytes(2**20)], ids=["some", "a whole block"])
def test_what_does_not_read_back_replaces_nothing(path, monkeypatch, damage, new):
    path.write_bytes(OLD)
    real = io.open

    class Lossy(Full):
        def write(self, content):
            self.file.write(damage(content))

    def opened(file, mode="r", *args, **kwargs):
        found = real(file, mode, *args, **kwargs)
        return Lossy(found, None) if mode == "xb" else found

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", opened)
        with refuses("did not read back; nothing was replaced"):
            write_file(path, new)
    assert path.read_bytes() == OLD
    assert only(path)


def test_the_file_is_synced_before_it_is_renamed_and_the_folder_after(path, monkeypatch):
    done = []
    sync, rename = os.fsync, os.replace

    def noted_sync(descriptor):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("folder synced" if folder else "file synced")
        sync(descriptor)

    def noted_rename(*args, **kwargs):
        done.append("renamed")
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_rename)
    write_file(path, NEW)
    assert done == ["file synced", "renamed", *(["folder synced"] if os.name == "posix" else [])]


def test_a_folder_that_cannot_be_synced_is_no_failure(path, monkeypatch):
    error = OSError(errno.EINVAL, "no such thing on this file system")
    monkeypatch.setattr(os, "fsync", failing(error, os.fsync, after=1))
    write_file(path, NEW)
    assert path.read_bytes() == NEW
    assert only(path)


def test_a_file_that_was_there_keeps_its_mode(path):
    for mode in (0o600, 0o640):
        path.write_bytes(OLD)
        path.chmod(mode)
        write_file(path, NEW)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert path.read_bytes() == NEW


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_no_file_stays_open(path):
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    write_file(path, OLD)
    before = count()
    for _ in range(5):
        write_file(path, NEW)
    assert count() == before


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_every_size_is_written(path, size):
    content = np.random.default_rng(size).bytes(size)
    write_file(path, content)
    assert path.read_bytes() == content


# --- what a killed writer leaves ------------------------------------------------------------------

DIES = """
import os, signal, sys
from xpnet import files
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
files.write_file(sys.argv[1], b"never whole")
"""


def kill_a_writer(path):
    """Let a writer of *path* be killed before it renames; return what it left behind."""
    before = set(path.parent.iterdir())
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", DIES, path], cwd=root, check=False)
    assert done.returncode < 0
    (left,) = set(path.parent.iterdir()) - before
    return left


@pytest.mark.skipif(os.name != "posix", reason="locks that die with their process are POSIX's")
def test_the_next_write_sweeps_what_a_killed_writer_left(path):
    path.write_bytes(OLD)
    left = kill_a_writer(path)
    assert path.read_bytes() == OLD
    assert left.name.startswith(".model.h5.")
    write_file(path, NEW)
    assert path.read_bytes() == NEW
    assert only(path)


@pytest.mark.skipif(os.name != "posix", reason="locks that die with their process are POSIX's")
def test_nothing_else_is_swept(path):
    others = [
        kill_a_writer(path.with_name("other.h5")),
        path.with_name(".model.h5.0123456789ab.tmp.h5"),
        path.with_name(".model.h5.0123456789AB.tmp"),
        path.with_name(".modelxh5.0123456789ab.tmp"),
        path.with_name("model.h5.0123456789ab.tmp"),
    ]
    for other in others[1:]:
        other.write_bytes(OLD)
    folder = path.with_name(".model.h5.ba9876543210.tmp")
    folder.mkdir()
    write_file(path, NEW)
    assert set(path.parent.iterdir()) == {path, folder, *others}


@pytest.mark.skipif(os.name != "posix", reason="locks that die with their process are POSIX's")
def test_a_writer_at_work_is_not_swept(path, monkeypatch):
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (inner(), real(descriptor)))

    def inner():
        monkeypatch.setattr(os, "fsync", real)
        write_file(path, OLD)  # while the outer one holds its temporary file

    write_file(path, NEW)
    assert path.read_bytes() == NEW
    assert only(path)


@pytest.mark.skipif(os.name != "posix", reason="locks that die with their process are POSIX's")
def test_a_file_that_was_swept_before_it_was_locked_is_made_anew(path, monkeypatch):
    import fcntl

    real, swept = fcntl.flock, []

    def late(file, operation):
        if not swept:
            swept.append(Path(file.name))
            swept[0].unlink()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    write_file(path, NEW)
    assert len(swept) == 1
    assert path.read_bytes() == NEW
    assert only(path)


@pytest.mark.skipif(os.name != "posix", reason="locks that die with their process are POSIX's")
def test_without_locks_it_writes_and_sweeps_nothing(path, monkeypatch):
    import fcntl

    left = kill_a_writer(path)
    error = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    monkeypatch.setattr(fcntl, "flock", failing(error))
    write_file(path, NEW)
    assert path.read_bytes() == NEW
    assert set(path.parent.iterdir()) == {path, left}


@pytest.mark.skipif(os.name != "posix", reason="locks that die with their process are POSIX's")
def test_a_writer_holds_its_file_until_it_is_renamed(path, monkeypatch):
    rename, held = os.replace, []

    def noted(source, target):
        with Path(source).open("r+b") as file:
            held.append(lock(file, wait=False))
        rename(source, target)

    monkeypatch.setattr(os, "replace", noted)
    write_file(path, NEW)
    assert held == [False]


@pytest.mark.skipif(os.name != "posix", reason="locks that die with their process are POSIX's")
def test_a_lock_is_held_by_one_until_it_is_closed(path):
    path.write_bytes(OLD)
    with path.open("r+b") as first, path.open("r+b") as second:
        assert lock(first, wait=False) is True
        assert lock(second, wait=False) is False
        first.close()
        assert lock(second, wait=True) is True


# --- where it writes ------------------------------------------------------------------------------


def both(path):
    """The two ways to write there."""
    return (
        lambda: check_writable(path),
        lambda: write_file(path, NEW),
    )


def test_bad_paths_are_refused(tmp_path):
    (tmp_path / "file").write_text("a file")
    cases = {
        tmp_path: ("expected a file to write; got a folder; add a file name",),
        tmp_path / "no" / "model.h5": ("model.h5: expected a place", "No such file or directory"),
        tmp_path / "file" / "model.h5": ("expected a place that can be written", "Not a directory"),
        tmp_path / ("x" * 300): ("expected a place that can be written", "too long"),
    }
    for path, words in cases.items():
        for act in both(path):
            with refuses(*words):
                act()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for act in both(pipe):
        with refuses("expected a file to write; got a device or pipe"):
            act()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert only(pipe)


def test_an_unwritable_folder_is_refused():
    with unprivileged() as folder:
        folder.chmod(0o500)
        for act in both(folder / "model.h5"):
            with refuses("model.h5: expected a place that can be written", "Permission denied"):
                act()
        assert list(folder.iterdir()) == []


def test_what_may_not_be_written_to_is_replaced_all_the_same():
    with unprivileged() as folder:
        path = folder / "model.h5"
        path.write_bytes(OLD)
        path.chmod(0o400)  # of the file; to rename over it, one needs the folder's
        check_writable(path)
        write_file(path, NEW)
        assert path.read_bytes() == NEW
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert only(path)


def test_output_errors_are_os_errors(tmp_path):
    with pytest.raises(OSError, match="got a folder"):
        check_writable(tmp_path)


def test_check_writable_leaves_no_trace():
    with unprivileged() as folder:
        path = folder / "model.h5"
        check_writable(path)
        assert list(folder.iterdir()) == []
        path.write_bytes(OLD)
        path.chmod(0o400)
        before = path.stat()
        check_writable(str(path))
        after = path.stat()
        assert path.read_bytes() == OLD
        assert (before.st_mtime_ns, before.st_ino, before.st_mode) == (
            after.st_mtime_ns,
            after.st_ino,
            after.st_mode,
        )
        assert only(path)
