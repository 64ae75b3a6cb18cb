"""A share of a list of tiles, for arrays of jobs without a scheduler: ``3/8`` is the third of eight.

The names in the list alone decide which tiles a share has, not their order or what is done already. So all jobs agree
without communication. Two jobs with the same tile would write the same file.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalogs.errors import ErrorCode, ScannerError
from scanner.survey.tile import Tile

log = logging.getLogger(__name__)

AUTO = "auto"
_FORM = re.compile("([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True)
class Share:
    """Share ``number`` of ``count``; both count from 1."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f"There is no share {self}: shares count from 1/{self.count} to {self.count}/{self.count}."
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, tiles: Sequence[Tile]) -> list[Tile]:
        """The tiles of this share, in the order of the list.

        Every tile is in exactly one share; the sizes of shares differ by one at most.
        """
        # In the order of a hash, crowded fields, which are neighbours in the list, go to different shares.
        shuffled = sorted({tile.name for tile in tiles}, key=_hash)
        names = set(shuffled[self.number - 1 :: self.count])
        return [tile for tile in tiles if tile.name in names]


def parse(text: str) -> Share:
    """Parse ``i/n``.

    Raises:
        ValueError: What is wrong with the text.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a share; give 3/8 for the third of eight, or {AUTO}.")
    if int(match[2]) == 0:
        raise ValueError("The number of shares must be at least 1, not 0.")
    return Share(int(match[1]), int(match[2]))


def from_environment(environment: Mapping[str, str]) -> Share:
    """The share that a batch system gave this process.

    It comes from a SLURM array (``SLURM_ARRAY_TASK_ID`` with ``_MIN``, ``_MAX``, ``_COUNT``), from tasks of ``srun``
    (``SLURM_PROCID`` of ``SLURM_NTASKS``), from tasks within an array, or from CANFAR sessions (``REPLICA_ID``, from 1,
    of ``REPLICA_COUNT``).

    Raises:
        ScannerError: ``shard.no_environment``, ``shard.bad_environment``.
    """
    facts = _Facts(environment)
    parts = [part for part in (_slurm_array(facts), _slurm_task(facts)) if part is not None]
    # CANFAR counts replicas from 1, SLURM tasks from 0.
    if not parts and "REPLICA_ID" in environment:
        parts = [(facts.number("REPLICA_ID") - 1, facts.number("REPLICA_COUNT"))]
    if not parts:
        raise ScannerError(
            ErrorCode.SHARD_NO_ENVIRONMENT,
            "--shard auto finds neither a SLURM array, nor tasks of srun, nor CANFAR replicas here.",
            "Submit with sbatch --array=0-7, start with srun, or give the share yourself: --shard 3/8.",
        )
    # Tasks of srun within an array: share ``part`` of each of the outer shares.
    index, count = 0, 1
    for part, of in parts:
        if not 0 <= part < of:
            raise _bad(f"{facts} is not a share: {part + 1} of {of}.", "Give the share yourself: --shard 3/8.")
        index, count = index * of + part, count * of
    share = Share(index + 1, count)
    log.info("Share %s of the list, from %s.", share, facts)
    return share


class _Facts:
    """The environment, and the variables that were read, for messages."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._read: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._environment

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._read.items())

    def number(self, name: str, default: int | None = None) -> int:
        text = self._environment.get(name)
        if text is None:
            if default is not None:
                return default
            raise _bad(f"{self} is set, but {name} is not.", "Give the share yourself: --shard 3/8.")
        self._read[name] = text
        if not re.fullmatch("[0-9]{1,9}", text):
            raise _bad(f"{name} is {text!r}, which is not a number.", "Give the share yourself: --shard 3/8.")
        return int(text)


def _slurm_array(facts: _Facts) -> tuple[int, int] | None:
    if "SLURM_ARRAY_TASK_ID" not in facts:
        return None
    task, first = facts.number("SLURM_ARRAY_TASK_ID"), facts.number("SLURM_ARRAY_TASK_MIN")
    count = facts.number("SLURM_ARRAY_TASK_COUNT")
    last = facts.number("SLURM_ARRAY_TASK_MAX", default=first + count - 1)
    # SLURM does not give the list of an array: only one with equal steps can be reconstructed.
    step = (last - first) // (count - 1) if count > 1 else 1
    if step < 1 or first + step * (count - 1) != last or (task - first) % step:
        raise _bad(
            f"The array has gaps ({facts}), so the place of this task in it is unknown.",
            "Submit an array without gaps, such as --array=0-7, or give --shard yourself.",
        )
    return (task - first) // step, count


def _slurm_task(facts: _Facts) -> tuple[int, int] | None:
    if "SLURM_PROCID" not in facts:
        return None
    task = facts.number("SLURM_PROCID")
    in_step = "SLURM_STEP_NUM_TASKS" in facts
    count = facts.number("SLURM_STEP_NUM_TASKS" if in_step else "SLURM_NTASKS", default=1)
    if count == 1 and task == 0:
        return None
    if task == 0 and not in_step and "SLURM_STEP_ID" not in facts:
        # The batch script itself has rank 0 of all the tasks it asked for: the other shares would not be scanned.
        raise _bad(
            f"This is not a task of srun, but its job has several ({facts}): only one share would be scanned.",
            "Start the command with srun, ask for --ntasks=1, or give --shard yourself.",
        )
    return task, count


def _bad(message: str, hint: str) -> ScannerError:
    return ScannerError(ErrorCode.SHARD_BAD_ENVIRONMENT, message, hint)


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
