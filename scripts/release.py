"""Check a release, from its version to the demo scanned by the installed wheel, then tag it.

    python scripts/release.py --check    # every step up to the tag, for the version in pyproject.toml
    python scripts/release.py 0.2.0      # the same for 0.2.0, then dist/ and the tag v0.2.0

Needs git, a C++ compiler, and the packages build and twine. The tag stays local until you push it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]
PACKAGES = ("catalogs", "export", "scanner", "training")
NOT_CORE = ("torch", "torchvision", "timm", "onnx")
C_SOURCES = (".c", ".h")
WEIGHTS = ".safetensors"  # only for further training: in the repository, not in a wheel or sdist
PIXELS = (".fits", ".fz", ".h5", ".hdf5", ".npy", ".npz", ".parquet")

# Run by the installed Python in the folder of a catalogue: where the package is, and the model of each tile file.
INSPECT = """
import json, pathlib, pyarrow.parquet, scanner
footers = [pyarrow.parquet.read_metadata(path).metadata for path in pathlib.Path("tiles").glob("*.parquet")]
models = [json.loads(footer[b"scanner.run"])["model_sha256"] for footer in footers]
print(json.dumps({"package": scanner.__path__[0], "models": models}))
"""


class ReleaseError(Exception):
    """A step that failed; the message says what to do."""


def release(wanted: str | None) -> None:
    """Check the commit that is checked out; with ``wanted``, a version, tag it too.

    Raises: ReleaseError at the first step that fails.
    """
    version = read_version((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
    changes = read_changes((HOUSE / "CHANGELOG.md").read_text(encoding="utf-8"))
    check_version(version, wanted, changes)
    if uncommitted := git("status", "--porcelain").decode().rstrip():
        raise ReleaseError(f"Commit or remove these files first:\n{uncommitted}")
    if wanted and git("tag", "--list", f"v{version}"):
        raise ReleaseError(f"The tag v{version} exists: choose a new version, or delete a tag that was never pushed.")
    report(f"version {version}: pyproject.toml and CHANGELOG.md agree, all files are committed")

    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        source, dist, environment, empty = (Path(folder) / name for name in ("source", "dist", "environment", "empty"))
        # Built from the commit, not from the working tree, where ignored files and earlier builds may lie.
        with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD"))) as archive:
            archive.extractall(source, filter="data")
        run(sys.executable, "-m", "build", "--outdir", dist, source, hint="Is build installed? pip install build")
        (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
        run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, hint="Correct pyproject.toml.")
        report(f"twine accepts {sdist.name} and {wheel.name}")

        check_contents(source, sdist, wheel)
        report("contents: the packages as committed, compiled decoders, licence; C sources in the sdist")

        venv.create(environment, symlinks=os.name != "nt", with_pip=True)
        programs = environment / ("Scripts" if os.name == "nt" else "bin")
        pip = (programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        run(*pip, wheel, hint="Annoy is compiled on installation: are g++ and Python's headers installed?")
        check_environment(programs, version)
        report(f"the wheel installs as {version} into an empty environment, without torch")

        empty.mkdir()
        run(programs / "scanner", "demo", cwd=empty, hint="Run `scanner demo` in the checkout to find the cause.")
        check_models(source / "scanner" / "models", programs, empty / "demo" / "embeddings")
        report("the installed scanner scans the demo; its models and the catalogue have the digests of SHA256SUMS")

        if wanted is None:
            report("everything up to the tag is in order")
            return
        (HOUSE / "dist").mkdir(exist_ok=True)
        for path in (sdist, wheel):
            shutil.copy2(path, HOUSE / "dist")
    # Verbatim: git would take the headings of the changelog for comments.
    git("tag", "--annotate", f"v{version}", "--cleanup=verbatim", "--message", f"{version}\n\n{changes[version]}\n")
    report(f"tagged v{version}, built dist/. To publish: git push origin v{version}, then docs/develop/releasing.md")


def read_version(pyproject: str) -> str:
    """Return the version in the text of pyproject.toml, the only place that holds it."""
    return str(tomllib.loads(pyproject)["project"]["version"])


def read_changes(changelog: str) -> dict[str, str]:
    """Return the sections of a changelog by version, or "Unreleased"; brackets and dates in headings are dropped."""
    _, *parts = re.split(r"^## \[?([^\]\s]+).*$", changelog, flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


def check_version(version: str, wanted: str | None, changes: Mapping[str, str]) -> None:
    """Compare the version of pyproject.toml with ``wanted`` and with the sections of the changelog.

    Without ``wanted`` the section "Unreleased" will do. Raises: ReleaseError where they differ.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise ReleaseError(f"{version} is not a version like 0.2.0 or 0.2.0rc1: correct it in pyproject.toml.")
    if wanted is None:
        if not (changes.get(version) or changes.get("Unreleased")):
            raise ReleaseError("CHANGELOG.md lists no changes: write them under Unreleased.")
    elif wanted != version:
        raise ReleaseError(f"pyproject.toml has version {version}: set it to {wanted} and commit.")
    elif not changes.get(version):
        raise ReleaseError(f"CHANGELOG.md has no section {version}: rename Unreleased to it, add the date, commit.")
    elif changes.get("Unreleased"):
        raise ReleaseError(f"CHANGELOG.md has unreleased changes: move them to section {version} and commit.")


def check_contents(source: Path, sdist: Path, wheel: Path) -> None:
    """Compare an sdist and a wheel with the committed files in ``source``. Raises: ReleaseError with all faults."""
    committed = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        faults = wheel_faults(archive.namelist(), committed)
    with tarfile.open(sdist) as archive:
        # All names in an sdist begin with the name of the folder that it unpacks to.
        faults += sdist_faults([name.partition("/")[2] for name in archive.getnames()], committed)
    if faults:
        raise ReleaseError("The contents are wrong; see [tool.setuptools] in pyproject.toml:\n" + "\n".join(faults))


def wheel_faults(names: Iterable[str], committed: Iterable[str]) -> list[str]:
    """Return what is wrong with a wheel: it holds the packages as committed, the compiled decoders and the licence."""
    files = {name for name in names if not name.endswith("/")}
    expected = {name for name in committed if name.startswith(tuple(f"{package}/" for package in PACKAGES))}
    expected = {name for name in expected if not name.endswith((*C_SOURCES, WEIGHTS))}
    decoders = {name for name in files if re.fullmatch(r"scanner/.*_decoders\.\S*(so|pyd)", name)}
    metadata = {name for name in files if name.partition("/")[0].endswith(".dist-info")}
    faults = [f"wheel: {name} is missing" for name in sorted(expected - files)]
    faults += [f"wheel: {name} does not belong there" for name in sorted(files - expected - decoders - metadata)]
    if not decoders:
        faults.append("wheel: the decoders are not compiled; install a C compiler and Python's headers")
    if not any(name.endswith("/LICENSE") for name in metadata):
        faults.append("wheel: LICENSE is missing")
    return faults + [f"wheel: {name} holds pixels, not the demo's" for name in sorted(files) if holds_pixels(name)]


def sdist_faults(names: Iterable[str], committed: Iterable[str]) -> list[str]:
    """Return what is wrong with an sdist: it holds all that a wheel is built from, C sources included."""
    files = set(names)
    expected = {name for name in committed if name.startswith(tuple(f"{package}/" for package in PACKAGES))}
    expected = {name for name in expected if not name.endswith(WEIGHTS)} | {"LICENSE", "README.md", "pyproject.toml"}
    faults = [f"sdist: {name} is missing" for name in sorted(expected - files)]
    return faults + [f"sdist: {name} holds pixels, not the demo's" for name in sorted(files) if holds_pixels(name)]


def holds_pixels(name: str) -> bool:
    """Return whether a file is of a kind that holds images or tables, and not part of the demo tile."""
    return name.endswith(PIXELS) and not name.startswith("scanner/demo/")


def check_environment(programs: Path, version: str) -> None:
    """Check the installed version, and that no package of training came along. Raises: ReleaseError."""
    installed = run(programs / "scanner", "--version").split()[-1]
    if installed != version:
        raise ReleaseError(f"The wheel installs version {installed}, not {version}: does pyproject.toml alone set it?")
    search = f"import importlib.util as util; print(*filter(util.find_spec, {NOT_CORE}))"
    if packages := run(programs / "python", "-c", search).strip():
        raise ReleaseError(f"The core installs {packages}: move what needs it to an extra in pyproject.toml.")


def check_models(models: Path, programs: Path, catalogue: Path) -> None:
    """Compare the installed models, and the model that made a catalogue, with the checksums in ``models``.

    Raises: ReleaseError where a digest differs.
    """
    facts = json.loads(run(programs / "python", "-c", INSPECT, cwd=catalogue))
    for sums in models.glob("*/SHA256SUMS"):
        for name, digest in read_sums(sums).items():
            path = Path(facts["package"], "models", sums.parent.name, name)
            if not name.endswith(WEIGHTS) and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise ReleaseError(f"{sums.parent.name}/{name} differs from SHA256SUMS: export the model again.")
    expected = read_sums(models / "small" / "SHA256SUMS")["encoder.onnx"]
    about = json.loads((catalogue / "catalogue.json").read_text(encoding="utf-8"))
    recorded = [about["model_sha256"], *facts["models"]]
    if len(recorded) < 2 or set(recorded) != {expected}:
        raise ReleaseError(f"catalogue.json and tile files of the demo record the models {recorded}, not {expected}.")


def read_sums(path: Path) -> dict[str, str]:
    """Return the digests in a SHA256SUMS file by file name."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def git(*arguments: str) -> bytes:
    """Return what a git command prints. Raises: ReleaseError where it fails."""
    result = subprocess.run(["git", *arguments], cwd=HOUSE, capture_output=True, check=False)
    if result.returncode:
        raise ReleaseError(f"git {arguments[0]} failed: {result.stderr.decode().rstrip()}\nRun this script in a clone.")
    return result.stdout


def run(*command: str | Path, cwd: Path | None = None, hint: str = "") -> str:
    """Return what a command prints; it cannot import from this checkout. Raises: ReleaseError where it fails."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    arguments = [str(part) for part in command]
    result = subprocess.run(arguments, cwd=cwd, env=variables, capture_output=True, encoding="utf-8", check=False)
    if result.returncode:
        output = f"{result.stdout}{result.stderr}".rstrip()
        raise ReleaseError(f"Exit code {result.returncode} from: {' '.join(arguments)}\n{output}\n{hint}".rstrip())
    return result.stdout


def report(text: str) -> None:
    """Print the result of a step."""
    print(f"release: {text}", flush=True)


def main() -> int:
    """Read the command line, run the steps, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check a release, then tag it.")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("version", nargs="?", help="version to release, for example 0.2.0")
    choice.add_argument("--check", action="store_true", help="run every step up to the tag")
    try:
        release(parser.parse_args().version)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
