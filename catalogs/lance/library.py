"""The package ``pylance``, and its errors as those of this software."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError

_NEWER = re.compile("unknown lance storage version|feature flag|newer|upgrade|not supported", re.IGNORECASE)
_ABSENT = re.compile("was not found|not found|no such file", re.IGNORECASE)
_FULL = re.compile("no space left|os error 28|disk quota|storagefull", re.IGNORECASE)
# What the clients of object stores say; an expired key is a 400, and the wrong region a redirection.
_DENIED = re.compile(
    r"access ?denied|40[13] (unauthorized|forbidden)|expired ?token|token has expired|invalid ?(access ?key|token)|"
    r"credentials|necessary privileges|permission ?denied|redirect without location",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile("error sending request|error decoding response|after [0-9]+ retries|timed? ?out", re.IGNORECASE)


def load() -> Any:
    """Import the package.

    Raises:
        ScannerError: ``lance.not_installed``.
    """
    # It logs deprecations and every new dataset as warnings.
    os.environ.setdefault("LANCE_LOG", "error")
    try:
        import lance
    except ImportError as error:
        hint = "Install it: pip install 'unions-scanner[lance]'"
        raise ScannerError(ErrorCode.LANCE_NOT_INSTALLED, "Lance datasets need the package pylance.", hint) from error
    return lance


def serialise_addresses(row_ids: NDArray[np.uint64]) -> bytes:
    """Encode row addresses as an allow-list of a search."""
    load()
    # The function that opens datasets hides the module of that name.
    module = importlib.import_module("lance.dataset")
    encoded: bytes = module.serialize_row_addrs(row_ids.tolist())
    return encoded


@contextlib.contextmanager
def reading(place: str) -> Iterator[None]:
    """Turn the errors of a dataset that is read into those of ``_explain``.

    A bug of the package is an exception that derives from ``BaseException``.
    """
    try:
        yield
    except ScannerError:
        raise
    except BaseException as error:
        if not _is_of_lance(error):
            raise
        raise _explain(place, error) from error


@contextlib.contextmanager
def opening(place: str) -> Iterator[None]:
    """Turn the errors of a dataset that is opened into ``catalogue.missing`` or those of ``_explain``."""
    try:
        yield
    except ScannerError:
        raise
    except BaseException as error:
        if not _is_of_lance(error):
            raise
        if (refused := _store_error(place, error)) is not None:
            raise refused from error
        if _ABSENT.search(str(error)):
            message = f"There is no complete Lance dataset at {place}."
            hint = "Make one: scanner export lance OUT. It appears when it is complete."
            raise ScannerError(ErrorCode.CATALOGUE_MISSING, message, hint) from error
        raise _explain(place, error) from error


@contextlib.contextmanager
def writing(place: str) -> Iterator[None]:
    """Turn the error of a full disk into ``output.full``; the package gives it no number."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        if not isinstance(error, ScannerError) and _FULL.search(str(error)):
            message = f"There is no space left to write {place}."
            hint = "Free some space and run the same command again: finished work is kept."
            raise ScannerError(ErrorCode.OUTPUT_FULL, message, hint) from error
        raise


def _explain(place: str, error: BaseException) -> ScannerError:
    """Make the error of a dataset that was not read: a later version's, one of its object store's, or its own."""
    if (refused := _store_error(place, error)) is not None:
        return refused
    if _NEWER.search(str(error)):
        return newer(place, f"written by a later version of Lance ({_first_line(error)})")
    return damaged(place, _first_line(error))


def _store_error(place: str, error: BaseException) -> ScannerError | None:
    """Make the error of an object store that denies access or does not answer; None for any other error."""
    _, address, path = place.partition("://")
    if not address:
        return None
    # Names of buckets and folders say nothing of the cause.
    text, reason = str(error), _first_line(error)
    for name in path.split("/"):
        text = text.replace(name, "") if name else text
    if _DENIED.search(text):
        hint = "Set the credentials and the region in the environment, such as AWS_ACCESS_KEY_ID and AWS_REGION."
        return ScannerError(ErrorCode.REMOTE_DENIED, f"The object store denied access to {place}: {reason}.", hint)
    if _NO_ANSWER.search(text):
        hint = "Check the address, AWS_ENDPOINT_URL and the network, and run the same command again."
        return ScannerError(ErrorCode.REMOTE_BROKEN, f"The object store of {place} does not answer: {reason}.", hint)
    return None


def damaged(place: str, reason: str) -> ScannerError:
    """Make the error of a dataset that cannot be read, or does not agree with itself."""
    message = f"The Lance dataset {place} cannot be read: {reason}."
    return ScannerError(ErrorCode.CATALOGUE_DAMAGED, message, "Copy it again, or export it again to another folder.")


def newer(place: str, reason: str) -> ScannerError:
    """Make the error of a dataset of a later version."""
    message = f"The Lance dataset {place} was {reason}."
    return ScannerError(ErrorCode.CATALOGUE_NEWER_VERSION, message, "Install a later version of pylance and of this.")


def _is_of_lance(error: BaseException) -> bool:
    kinds = (OSError, ValueError, RuntimeError, NotImplementedError, KeyError, pa.ArrowException)
    return isinstance(error, kinds) or type(error).__name__ == "PanicException"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(".")
