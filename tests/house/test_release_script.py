"""The release script: versions and changelogs that do not fit, and wheels that hold too much or too little."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

HOUSE = Path(__file__).parents[2]
CHANGELOG = """# Changelog

## Unreleased

## [0.2.0] - 2026-12-01

### Added
- A second survey.

## 0.1.0
- The first.
"""
COMMITTED = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "bench/index.py",
    "tests/data/tile.fits.fz",
    "catalogs/py.typed",
    "scanner/demo/217.292.r.fits.fz",
    "scanner/images/_decoders.c",
    "scanner/images/_decoders.pyi",
    "scanner/models/small/encoder.onnx",
    "scanner/models/small/model.safetensors",
    "training/configs/small.toml",
}
WHEEL = {
    "catalogs/py.typed",
    "scanner/demo/217.292.r.fits.fz",
    "scanner/images/_decoders.abi3.so",
    "scanner/images/_decoders.pyi",
    "scanner/models/small/encoder.onnx",
    "training/configs/small.toml",
    "unions_scanner-0.2.0.dist-info/METADATA",
    "unions_scanner-0.2.0.dist-info/licenses/LICENSE",
}
SDIST = (WHEEL & COMMITTED) | {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "scanner/images/_decoders.c"}


def load_script() -> ModuleType:
    """Import scripts/release.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("release_script", HOUSE / "scripts" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = load_script()


def test_changelog_is_read_by_version() -> None:
    changes = release.read_changes(CHANGELOG)
    assert changes == {"Unreleased": "", "0.2.0": "### Added\n- A second survey.", "0.1.0": "- The first."}


@pytest.mark.parametrize("wanted", [None, "0.2.0"])
def test_a_version_that_fits_passes(wanted: str | None) -> None:
    release.check_version("0.2.0", wanted, release.read_changes(CHANGELOG))


def test_unreleased_changes_pass_a_check_but_no_release() -> None:
    changes = {"Unreleased": "- A third survey.", "0.2.0": "- A second."}
    release.check_version("0.2.0", None, changes)
    with pytest.raises(release.ReleaseError, match=r"move them to section 0\.2\.0"):
        release.check_version("0.2.0", "0.2.0", changes)


@pytest.mark.parametrize(
    ("version", "wanted", "message"),
    [
        ("0.2.0", "0.3.0", r"set it to 0\.3\.0"),
        ("0.3.0", "0.3.0", r"no section 0\.3\.0"),
        ("0.3.0", None, "lists no changes"),
        ("0.3", "0.3", r"correct it in pyproject\.toml"),
    ],
)
def test_a_version_that_does_not_fit_says_what_to_correct(version: str, wanted: str | None, message: str) -> None:
    with pytest.raises(release.ReleaseError, match=message):
        release.check_version(version, wanted, release.read_changes(CHANGELOG))


def test_this_version_and_changelog_can_be_checked() -> None:
    version = release.read_version((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
    release.check_version(version, None, release.read_changes((HOUSE / "CHANGELOG.md").read_text(encoding="utf-8")))


def test_a_complete_wheel_and_sdist_have_no_faults() -> None:
    assert release.wheel_faults([*WHEEL, "scanner/"], COMMITTED) == []
    assert release.sdist_faults([*SDIST, "scanner"], COMMITTED) == []


@pytest.mark.parametrize("name", sorted(WHEEL - {"unions_scanner-0.2.0.dist-info/METADATA"}))
def test_a_file_missing_from_a_wheel_is_a_fault(name: str) -> None:
    (fault,) = release.wheel_faults(WHEEL - {name}, COMMITTED)
    assert {"scanner/images/_decoders.abi3.so": "not compiled"}.get(name, Path(name).name) in fault


@pytest.mark.parametrize(
    "name",
    ["bench/index.py", "tests/test_house.py", "scanner/images/_decoders.c", "scanner/models/small/model.safetensors"],
)
def test_what_does_not_belong_in_a_wheel_is_a_fault(name: str) -> None:
    assert release.wheel_faults(WHEEL | {name}, COMMITTED) == [f"wheel: {name} does not belong there"]


def test_pixels_of_training_are_faults_even_when_committed() -> None:
    pixels = {"training/fields/cfhtls.fits"}
    (fault,) = release.wheel_faults(WHEEL | pixels, COMMITTED | pixels)
    assert "holds pixels" in fault
    (fault,) = release.sdist_faults(SDIST | pixels, COMMITTED | pixels)
    assert "holds pixels" in fault


def test_an_sdist_without_its_c_source_is_a_fault() -> None:
    faults = release.sdist_faults(SDIST - {"scanner/images/_decoders.c"}, COMMITTED)
    assert faults == ["sdist: scanner/images/_decoders.c is missing"]


def test_a_command_that_fails_shows_its_output_and_the_hint() -> None:
    with pytest.raises(release.ReleaseError, match=r"(?s)Exit code 3 from: .*no compiler.*install one"):
        release.run("sh", "-c", "echo no compiler >&2; exit 3", hint="install one")


def test_commands_cannot_import_from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HOUSE))
    assert release.run("sh", "-c", "echo [$PYTHONPATH]") == "[]\n"


def test_a_release_of_uncommitted_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    monkeypatch.setattr(release, "HOUSE", tmp_path)
    with pytest.raises(release.ReleaseError, match=r"(?s)Commit or remove.*pyproject\.toml"):
        release.release("0.2.0")
