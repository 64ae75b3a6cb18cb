"""The processor of this machine: its name, and whether it multiplies bfloat16 numbers itself."""

from __future__ import annotations

import platform
from pathlib import Path

BF16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16", "bf16": "bf16"}
"""Flags of Linux for products of bfloat16, the fastest first, and what they are called; the last is that of ARM."""

_CPUINFO = Path("/proc/cpuinfo")
_MODEL = ("model name", "cpu family", "model")


def describe() -> str:
    """Name the processor: what its maker calls it, its family and model, and its instructions for bfloat16.

    One name, such as AMD EPYC, stands for processors whose results differ in bfloat16.
    """
    facts = _facts()
    name, family, model = (facts.get(key, "") for key in _MODEL)
    numbers = f"family {family} model {model}" if family and model else ""
    return ", ".join(filter(None, [name or platform.processor() or platform.machine(), numbers, bf16() or "no bf16"]))


def bf16() -> str | None:
    """The fastest instructions for products of bfloat16; empty: none; None: the system does not tell."""
    flags = (facts := _facts()).get("flags", facts.get("Features"))
    if flags is None:
        return None
    return next((name for flag, name in BF16.items() if flag in flags.split()), "")


def _facts() -> dict[str, str]:
    """What Linux says of the first core; empty on other systems."""
    try:
        core = _CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in core.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
