"""A catalogue as a HATS collection (IVOA note "HATS" 1.0), the format that LSDB and the archives of large surveys read.

``layout``       names of files and folders, and the property files
``partitions``   pixels of the sky that hold about as many rows each, and the rows that lie just outside each
``parquet``      rows to Parquet, and the two metadata files over all of them
``writer``       the two tables of a collection, partition by partition
``metadata``     property files and metadata of a collection
``publication``  the steps in order: count, write, margin, metadata, rename
``reader``       the rows of any collection near given positions
"""

from catalogs.hats.publication import Options, PublishReport, publish

__all__ = ["Options", "PublishReport", "publish"]
