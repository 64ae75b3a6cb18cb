"""A catalogue as a HATS collection (IVOA note "HATS" 1.0), the form that LSDB and the archives of large surveys read.

``layout``       names of files and folders, and the property files
``partitions``   pixels of the sky that hold about as many rows each, and the rows that lie just outside each
``files``        rows to Parquet, and the two metadata files over all of them
``publication``  the work: count, write, margin, describe, rename
"""

from catalogs.hats.publication import Options, Published, publish

__all__ = ["Options", "Published", "publish"]
