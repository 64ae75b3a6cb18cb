"""Embeddings to answers: catalogues of embeddings, their indexes, and the searches over them.

>>> import catalogs
>>> catalogue = catalogs.open("embeddings")                                # doctest: +SKIP
>>> catalogue.neighbours(ra=217.0231, dec=56.1022, k=5)                    # doctest: +SKIP
>>> catalogue.table(["ra", "dec", "mag_r"], where="mag_r < 21")            # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catalogs.catalogue import Catalogue, LanceCatalogue, create, open
    from catalogs.store.provenance import Run

__all__ = ["Catalogue", "LanceCatalogue", "Run", "create", "open"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: ``import catalogs`` itself loads neither pyarrow nor astropy."""
    if name in __all__:
        from catalogs import catalogue

        return getattr(catalogue, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
