"""Files that a crash leaves whole: modes, devices, links, locks, leftovers."""

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatedpose.errors import InputError, JsonError
from gatedpose.files.journal import JsonLines
from gatedpose.files.typed_json import LARGEST_JSON, read_json, to_json
from gatedpose.files.whole import held, whole_file, whole_folder, write_whole


def test_a_device_stays_a_device_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    write_whole("/dev/null", b"gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    pipe, read = tmp_path / "pipe.png", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"a picture")
    reader.join()
    assert read == [b"a picture"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.png"]


def test_the_mode_stays_and_links_are_followed(tmp_path: Path) -> None:
    secret, link = tmp_path / "secret.json", tmp_path / "link.json"
    secret.write_text("old")
    secret.chmod(0o600)
    link.symlink_to(secret)
    write_whole(link, "größer")
    assert link.is_symlink()
    assert secret.read_bytes() == "größer".encode()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(OSError, match=r"cannot write .*circle"):
        write_whole(circle, "x")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        write_whole(tmp_path, "x")


def test_names_beyond_ascii_where_the_locale_is_ascii(tmp_path: Path) -> None:
    code = (
        "import sys; from gatedpose.files.whole import write_whole; write_whole(sys.argv[1], 'x')"
    )
    names = ("größe.txt", "図" * 80 + ".txt", "caf\udce9.txt")
    for name in names:
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)],
            env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0"},
            check=True,
        )
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    write_whole(tmp_path / "x.txt", "x")
    with whole_folder(tmp_path / "made", ["y.txt"]) as made:
        (made / "y.txt").write_text("y")
    assert (tmp_path / "x.txt").read_text() == "x"
    assert (tmp_path / "made" / "y.txt").read_text() == "y"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "x.txt"]


def test_what_a_killed_program_left_is_written_over(tmp_path: Path) -> None:
    code = (
        "import sys, time; from gatedpose.files.whole import whole_file\n"
        "with whole_file(sys.argv[1]) as part:\n"
        "    part.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    target = tmp_path / "last.pt"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    write_whole(target, "meanwhile")  # beside the living one
    assert {path.name for path in tmp_path.glob("*.pt")} == {".last.0.part.pt", "last.pt"}
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    write_whole(target, "afterwards")
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert target.read_text() == "afterwards"


def test_the_old_folder_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    with whole_folder(model, {"a"}) as part:
        (part / "a").write_text("first")
    rename, names = Path.rename, []

    def second_fails(path: Path, target: Path) -> Path:
        names.append(path.name)
        if len(names) == 2:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with (
        pytest.raises(OSError, match=r"cannot write .*model: No space"),
        whole_folder(model, {"a"}) as part,
    ):
        (part / "a").write_text("second")
    monkeypatch.undo()
    assert (model / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    rename(model, tmp_path / ".model.old")  # killed between the two renames
    (tmp_path / ".model.part").mkdir()
    with pytest.raises(ZeroDivisionError), whole_folder(model, {"a"}):
        raise ZeroDivisionError
    assert (model / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with held(tmp_path / ".lock", "in use"):
        with pytest.raises(InputError, match="in use: wait"), held(tmp_path / ".lock", "in use"):
            raise AssertionError
        assert (tmp_path / ".lock").exists()
    assert not list(tmp_path.iterdir())
    with JsonLines(tmp_path / "rows", resume=False) as log:
        log.add({"n": 1})
        with pytest.raises(InputError, match="being written by another program"):
            JsonLines(tmp_path / "rows", resume=True)
        log.add({"n": 2})
    assert (tmp_path / "rows").read_text() == '{"n": 1}\n{"n": 2}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_journal_says_what_made_it(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with JsonLines(path, resume=False, made_by={"model": "a", "flip": False}) as log:
        log.add({"n": 1})
        log.add({"n": 2})
    assert json.loads(path.read_text().splitlines()[0]) == {
        "n": 1,
        "made_by": {"model": "a", "flip": False},
    }
    changes = r"made otherwise \(flip False -> True, model 'a' -> 'b'\)"
    with pytest.raises(InputError, match=changes):
        JsonLines(path, resume=True, made_by={"model": "b", "flip": True})
    made_by = {"model": "a", "flip": False}
    with JsonLines(path, True, made_by, keep=lambda row: row["n"] != 1) as log:
        assert log.rows == [{"n": 2}]
        log.add({"n": 3})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"n": 2, "made_by": made_by}, {"n": 3}]
    path.write_text('{"n": 1}\n')
    with pytest.raises(InputError, match="first line does not say what made it"):
        JsonLines(path, resume=True, made_by=made_by)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "cannot be read as JSON: (maximum recursion|Stack overflow)"),
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b'[{"a": 1, "b": 2, "a": 3}]', "cannot be read as JSON: an object has 'a' twice"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
    ],
)
def test_json_that_cannot_be_read_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(JsonError, match=rf"a\.json {message}"):
        read_json(path)


def test_numbers_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + "9" * 400 + ", " + "9" * 5000 + ", 12]")
    assert read_json(path) == [float("inf"), float("inf"), 12]
    with pytest.raises(InputError, match="JSON has no word for it"):
        to_json({"score": float("nan")})


def test_json_that_unpacks_to_far_more(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 20_000_000 + b"]"))
    with pytest.raises(JsonError, match="unpacks to more than"):
        read_json(path)
    assert LARGEST_JSON * path.stat().st_size + 2**20 < 20_000_000


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with pytest.raises(ZeroDivisionError), whole_file(target) as part:
        part.write_bytes(b"half" * (1 // 0))
    assert not list(tmp_path.iterdir())
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_whole(target, b"x")


@pytest.mark.parametrize("step", ["fsync", "replace", "interrupt"])
def test_failing_write_leaves_the_old_file_whole(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    raised = KeyboardInterrupt() if step == "interrupt" else OSError(28, "No space left on device")

    def fail(*args: object) -> None:
        assert len(list(tmp_path.glob("*.bin"))) == 2  # the temporary is in the same folder
        raise raised

    monkeypatch.setattr(*((Path, "replace") if step == "replace" else (os, "fsync")), fail)
    expected = pytest.raises(KeyboardInterrupt)
    if step != "interrupt":
        expected = pytest.raises(OSError, match=r"cannot write .*file\.bin: No space left")
    with expected:
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]
