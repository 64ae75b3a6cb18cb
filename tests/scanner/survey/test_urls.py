"""URLs: a few schemes are fetched, chains never, and no message shows a credential."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.errors import ScannerError
from scanner.survey import survey, tile_list, urls
from scanner.survey.tile import Tile
from scanner.survey.tile_list import clean

UNIONS = survey.load("unions")
R = "CFIS.217.292.r.fits"
OTHER_SCHEMES = [
    f"reference://x::file:///tmp/{R}", f"reference:///tmp/{R}", f"simplecache::http://host/{R}",
    f"filecache::blockcache::s3://bucket/{R}", f"zip://{R}::http://host/x.zip", f"tar://{R}::file:///tmp/x.tar",
    f"github://user:repo@main/{R}", f"git://repo:main@{R}", f"dask://host/{R}", f"python://{R}", f"asynclocal:///{R}",
    f"jupyter://host/{R}", f"ftp://host/{R}", f"ssh://host/{R}", f"local:///tmp/{R}", f"file://elsewhere/{R}",
    f"dir://x::file:///tmp/{R}", f"REFERENCE://x::file:///tmp/{R}", f"data://,{R}",
]  # fmt: skip
MALFORMED = [
    f"http://[::1/{R}", f"http:///{R}", f"http://host:port/{R}", f"http://host:99999/{R}", f"http://\u2100/{R}",
    f"http://x::file:///tmp/{R}", f"https://host/a::b/{R}", f"s3://bucket/x::reference://y/{R}", f"vos:UNIONS::x/{R}",
    f"memory://x::http://host/{R}",
]  # fmt: skip
SOUND = [
    f"http://host/{R}", f"HTTPS://host:8000/a/{R}?signature=x", f"http://[::1]:8000/{R}", f"http://[fe80::1]/{R}",
    f"s3://bucket/a/{R}", f"gs://bucket/{R}", f"gcs://bucket/{R}", f"abfs://box/{R}", f"abfss://a@b.net/{R}",
    f"az://box/{R}", f"vos:UNIONS/{R}", f"vos://cadc.nrc.ca~vault/UNIONS/{R}", f"arc:home/{R}", f"memory://a/{R}",
]  # fmt: skip


def read(*lines: str, root: str | Path = ".") -> list[Tile]:
    return tile_list.parse(clean(lines), UNIONS, root)


@pytest.mark.parametrize("url", SOUND)
def test_schemes_that_are_fetched(url: str) -> None:
    (tile,) = read(url)
    assert tile.problem is None
    assert tile.remote is not None
    assert tile.remote.candidates["r"] == (url,)
    assert read("217.292", root=url.removesuffix(f"/{R}"))[0].problem is None


@pytest.mark.parametrize(("url", "code"), [
    *((url, "remote.unknown_scheme") for url in OTHER_SCHEMES), *((url, "remote.bad_url") for url in MALFORMED)
])  # fmt: skip
def test_every_other_url_is_its_lines_problem_and_a_roots_end(url: str, code: str) -> None:
    tiles = {tile.name: tile for tile in read("217.293", url, "217.294", root="http://host")}
    assert list(tiles) == ["217.293", "line-2", "217.294"]
    problem = tiles["line-2"].problem
    assert problem is not None
    assert problem.code == code
    assert problem.message.startswith("Line 2, ")
    assert problem.hint
    assert tiles["217.293"].problem is tiles["217.294"].problem is None
    with pytest.raises(ScannerError) as caught:
        read("217.292", root=url)
    assert caught.value.code == code


def test_a_file_url_is_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    (folder / R).touch()
    for text in (f"file://{folder}/{R}".replace(" ", "%20"), f"FILE://localhost{folder}/{R}"):
        (tile,) = read(text)
        assert (tile.files, tile.remote) == ({"r": folder / R}, None)
    assert read("217.292", root=f"file://{folder}")[0].files == {"r": folder / R}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host:80/a/b.fits", "https://host:80/a/b.fits"),
        ("https://me:se@cret@host/b.fits", "https://host/b.fits"),
        ("https://host/b.fits?X-Signature=secret&b=1", "https://host/b.fits?..."),
        ("404, url='https://me:secret@h/b?sig=secret' (tried", "404, url='https://h/b?...' (tried"),
        ("https://a:secret@h/x and s3://b:secret@c/y?z=secret.", "https://h/x and s3://c/y?..."),
        ("vos:UNIONS/tiles", "vos:UNIONS/tiles"),
        ("Is it there? mail me@host", "Is it there? mail me@host"),
    ],
)  # fmt: skip
def test_credentials_are_not_shown(text: str, shown: str) -> None:
    assert urls.redact(text) == shown


@pytest.mark.parametrize("line", ["https://me:secret@host/x.fits?key=secret", f"ftp://me:secret@host/{R}",
                                  f"http://me:secret@[::1/{R}", f"http://me:secret@a::b/{R}?key=secret"])  # fmt: skip
def test_nor_are_they_in_the_problem_of_a_line(line: str) -> None:
    problem = read(line)[0].problem
    assert problem is not None
    assert "secret" not in problem.report()
    assert "Line 1" in problem.report()
