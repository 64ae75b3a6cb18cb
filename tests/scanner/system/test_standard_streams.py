"""Standard output holds data alone; a stream that is closed, full or no longer read has no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")

COMMANDS = {
    "scanner": "from scanner.cli import main; main()",
    "training": "from training.__main__ import main; main()",
    "export": "from export.__main__ import main; main()",
}
# A program as the commands are: chatty libraries in Python and in C, a chatty child, and data at the end.
CHATTY = """
import os, subprocess, sys, click
from scanner.cli.output import DataCommand, show
from scanner.system.standard_streams import guarded_streams

@click.command(cls=DataCommand)
def command():
    print("INFO: a library")
    os.write(1, b"a library in C\\n")
    subprocess.run(["echo", "a child"])
    click.echo("a message", err=True)
    show("\\xe9")
    show(b"\\x00bytes")

with guarded_streams():
    command()
"""
PLAIN_LOCALE = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def shell(program: str, words: str, streams: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", f'exec "$0" -c "$1" {words} {streams}', sys.executable, program],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_what_others_print_goes_to_standard_error() -> None:
    done = shell(CHATTY, "", "", **PLAIN_LOCALE)
    assert (done.returncode, done.stdout) == (0, "é\n\0bytes".encode())
    assert sorted(done.stderr.decode().splitlines()) == ["INFO: a library", "a child", "a library in C", "a message"]


def test_a_stream_that_an_application_put_in_place_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    from scanner.cli import main

    before = sys.stdout
    with pytest.raises(SystemExit) as ended:
        main(["lenses", "--as-tile-list", "--min-dec", "89.9"])
    assert ended.value.code == 0
    assert sys.stdout is before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", ["lenses -f csv", "lenses --as-tile-list --min-dec 70", "lenses --help", "--version"])
def test_a_reader_that_has_gone_is_no_error(words: str) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMANDS["scanner"], *words.split()], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    os.close(reading)
    _, messages = process.communicate()
    assert process.returncode == 0
    assert b"rror" not in messages
    assert b"ignored" not in messages


@pytest.mark.parametrize("name", ["training", "export"])
@pytest.mark.parametrize(("streams", "code"), [(">/dev/full", "output.full"), (">&-", "output.closed")])
def test_the_other_programs_say_too_that_their_output_is_lost(name: str, streams: str, code: str) -> None:
    done = shell(COMMANDS[name], "--help", streams)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == f"[{code}]"
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("streams", "code"), [(">/dev/full", "output.full"), (">&-", "output.closed"), (">&- <&-", "output.closed")]
)
@pytest.mark.parametrize("words", ["lenses -f csv --min-dec 70", "lenses -f fits --min-dec 70", "--help"])
def test_data_that_are_lost_are_an_error_with_a_code(words: str, streams: str, code: str) -> None:
    done = shell(COMMANDS["scanner"], words, streams)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == f"[{code}]"
    assert b"Traceback" not in done.stderr
    assert b"ignored" not in done.stderr


@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&-", "2>&- <&-"])
def test_messages_that_are_lost_end_nothing(streams: str) -> None:
    done = shell(COMMANDS["scanner"], "lenses --as-tile-list --min-dec 80", streams)
    assert done.returncode == 0
    assert done.stdout == shell(COMMANDS["scanner"], "lenses --as-tile-list --min-dec 80", "").stdout
    assert done.stdout


@pytest.mark.parametrize("name", ["gr\xf6\xdfe", "\udcff"])
def test_a_name_is_shown_alike_in_every_locale_whatever_its_bytes(name: str) -> None:
    program = (
        "import sys, click\nfrom scanner.system.standard_streams import guarded_streams\nname = "
        + ascii(name)
        + """
with guarded_streams():
    if len(sys.argv) > 1:
        name = sys.argv[1]
    click.echo(name)
    click.echo(name, err=True)
"""
    )
    expected = name.replace("\udcff", r"\xff") + "\n"
    for words in ("", f"'{name}'") if name.isprintable() else ("",):
        done = shell(program, words, "", **PLAIN_LOCALE)
        assert (done.stdout.decode(), done.stderr.decode()) == (expected, expected)


def test_the_names_of_files_are_utf8_in_every_locale(tmp_path: Path) -> None:
    """Arrow takes a name as UTF-8, so that another encoding of the locale would be another file."""
    program = """
import sys
import pyarrow as pa
from scanner.system.standard_streams import guarded_streams
with guarded_streams():
    with pa.OSFile(sys.argv[1], "wb") as file:
        file.write(sys.argv[1].encode())
"""
    done = shell(program, f"'{tmp_path}/gr\xf6\xdfe'", "", **PLAIN_LOCALE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "gr\xf6\xdfe").read_text(encoding="utf-8") == f"{tmp_path}/gr\xf6\xdfe"


def test_with_all_streams_closed_no_file_is_taken_for_one(tmp_path: Path) -> None:
    """The first file that a program opens would get the number of the closed stream, and the messages in it."""
    path = tmp_path / "data"
    program = f"""
import os
from pathlib import Path
from scanner.system.standard_streams import guarded_streams
with guarded_streams():
    with Path({str(path)!r}).open("wb", buffering=0) as file:
        assert file.fileno() > 2
        os.write(2, b"message")
"""
    assert shell(program, "", "<&- >&- 2>&-").returncode == 0
    assert path.read_bytes() == b""
