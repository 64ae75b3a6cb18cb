"""Errors that a user can act on: the codes, each with its meaning, and the exception that carries one."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """The stable codes of all errors; ``meaning`` is a sentence for the reference pages. Codes are contractual."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> ErrorCode:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    AVERAGE_OTHER_RUNS = "average.other_runs", "Training runs differ in more than their seed and cannot be averaged."
    CATALOGUE_CHANGING = "catalogue.changing", "Tile files changed faster than a search could read them."
    CATALOGUE_DAMAGED = "catalogue.damaged", "The folder is not a catalogue, or its catalogue.json cannot be read."
    CATALOGUE_MISSING = "catalogue.missing", "The folder holds no catalogue."
    CATALOGUE_NEWER_VERSION = (
        "catalogue.newer_version",
        "The catalogue has a format that this version of the software does not read yet.",
    )
    CATALOGUE_NO_PERMISSION = "catalogue.no_permission", "The catalogue belongs to another user, who alone may read it."
    CATALOGUE_OTHER_KEEP = (
        "catalogue.other_keep",
        "The catalogue was made with another --keep; one catalogue keeps rows by one rule.",
    )
    CATALOGUE_OTHER_MODEL = (
        "catalogue.other_model",
        "The catalogue was made with another model; embeddings of two models cannot be compared.",
    )
    CATALOGUE_OTHER_SURVEY = "catalogue.other_survey", "The catalogue holds another survey or other bands."
    CHECKPOINT_DAMAGED = "checkpoint.damaged", "The file is not a checkpoint of this program, or it is damaged."
    CHECKPOINT_MISSING = "checkpoint.missing", "The run has no checkpoint."
    CHECKPOINT_OTHER_FIRST = (
        "checkpoint.other_first",
        "The run did not begin with the run that was given as its first stage.",
    )
    CHECKPOINT_UNFINISHED = "checkpoint.unfinished", "The checkpoint has no embedding statistics for this pooling yet."
    CLUSTER_BAD_CONFIG = (
        "cluster.bad_config",
        "The file of Dask settings has an unknown option, or lacks a required one.",
    )
    CLUSTER_LOST = "cluster.lost", "The Dask scheduler disappeared meanwhile."
    CLUSTER_NO_SCHEDULER = "cluster.no_scheduler", "No Dask scheduler answers at the address."
    CLUSTER_NO_WORKERS = "cluster.no_workers", "The Dask scheduler had no worker for too long."
    CLUSTER_NOT_INSTALLED = "cluster.not_installed", "Dask, dask-jobqueue or dask-cuda is not installed."
    CLUSTER_NOT_STARTED = "cluster.not_started", "The Dask workers, or the jobs that should become them, do not start."
    CLUSTER_OTHER_FILES = (
        "cluster.other_files",
        "A worker sees another catalogue, or other tiles, than the command does.",
    )
    CLUSTER_OTHER_MODEL = "cluster.other_model", "A worker has another model file than the scan."
    CLUSTER_OTHER_SOFTWARE = "cluster.other_software", "A worker runs another version of this package."
    CLUSTER_STOPPED = "cluster.stopped", "The command was stopped while a worker waited."
    CLUSTER_TASK_FAILED = (
        "cluster.task_failed",
        "A worker raised an unexpected error, or workers exited again and again.",
    )
    COLUMN_NOT_NUMBERS = "column.not_numbers", "The column does not hold one number for each object."
    COLUMN_UNKNOWN = "column.unknown", "The catalogue or the answer has no column of that name."
    COMPLETENESS_LOW_THRESHOLD = (
        "completeness.low_threshold",
        "More objects reach the threshold than are counted for a completeness.",
    )
    COMPLETENESS_NO_LENS = "completeness.no_lens", "None of the injected lenses is on a tile of the catalogue."
    CONFIG_BAD = "config.bad", "The training configuration has an unknown key, a wrong type or a value out of range."
    CONFIG_MISSING = "config.missing", "The training configuration does not exist."
    CROSSMATCH_BAD_EPOCH = "crossmatch.bad_epoch", "An epoch is missing, or is not a year between 1800 and 2100."
    CROSSMATCH_NO_MOTION = (
        "crossmatch.no_motion",
        "The table has no proper motions, by which its positions could be moved.",
    )
    CROSSMATCH_SAME_COLUMN = "crossmatch.same_column", "A column would be added under the name of one that is there."
    CUTOUT_NO_PIXELS = "cutout.no_pixels", "The cutout file has no pixel with data."
    CUTOUT_SAME_NAME = "cutout.same_name", "Two cutout files have the same name."
    CUTOUT_SHAPE_MISMATCH = (
        "cutout.shape_mismatch",
        "The bands of a cutout differ in shape, or the cutouts are not square.",
    )
    CUTOUT_UNKNOWN_BANDS = "cutout.unknown_bands", "The file does not say which band each of its images is."
    CUTOUT_UNREADABLE = "cutout.unreadable", "The file of cutouts cannot be read."
    DEVICE_PRECISION = "device.precision", "The precision does not suit the device, its processor or the runtime."
    DEVICE_UNAVAILABLE = "device.unavailable", "The device cannot be used on this machine."
    DEVICE_UNKNOWN = "device.unknown", "No device has that name."
    ENCODER_FAILED = "encoder.failed", "The runtime failed on a batch."
    EVALUATE_NO_CONTRACT = "evaluate.no_contract", "The model file has no contract, so its bands and units are unknown."
    EVALUATE_NO_DATA = "evaluate.no_data", "The folder of evaluation data does not exist or is incomplete."
    EVALUATE_NO_MODEL = "evaluate.no_model", "The model file to evaluate does not exist."
    EVALUATE_NO_TABLE = "evaluate.no_table", "The file is not the evaluation.json of an evaluation."
    EVALUATE_NO_TASK = "evaluate.no_task", "No evaluation task has that name."
    EVALUATE_NO_TILES = "evaluate.no_tiles", "The development tiles could not be built."
    EVALUATE_NO_WEIGHTS = (
        "evaluate.no_weights",
        "The package with the weights of the baseline network is not installed.",
    )
    EVALUATE_OTHER_PIXELS = (
        "evaluate.other_pixels",
        "The model expects other bands or another pixel scale than the evaluation set has.",
    )
    EVALUATE_WINDOW = "evaluate.window", "The model needs larger cutouts than the evaluation set has."
    EXPORT_DISAGREES = "export.disagrees", "The exported graph and PyTorch give different embeddings or scores."
    EXPORT_FIXED_OPTIONS = (
        "export.fixed_options",
        "The options differ from those that a run with scores was trained with.",
    )
    EXPORT_PRECISION = (
        "export.precision",
        "The reduced precision changes the embeddings too much; the file was not written.",
    )
    FEEDBACK_BAD_MARK = "feedback.bad_mark", "A mark in the feedback file is not one of the known marks."
    FEEDBACK_NO_MARK = "feedback.no_mark", "The feedback file has no marked row."
    FEEDBACK_NO_OBJECT = "feedback.no_object", "A marked row does not say which object it is about."
    FEEDBACK_UNREADABLE = "feedback.unreadable", "The feedback file cannot be read."
    FIELDS_MISSING = "fields.missing", "A file of the real training fields does not exist."
    FIGURE_UNKNOWN_FORMAT = "figure.unknown_format", "The ending of the figure's file is neither .png nor .pdf."
    FORMAT_UNKNOWN = "format.unknown", "No output format has that name."
    HANDOFF_NO_STARS = "handoff.no_stars", "Too few stars around a candidate show the point spread function."
    HATS_UNREADABLE = "hats.unreadable", "The folder is not a HATS collection, or a file of it is missing or damaged."
    HUNT_BAD_LIST = "hunt.bad_list", "The list to inspect is empty, or lacks a column of a list of objects."
    HUNT_BAD_SCHEME = "hunt.bad_scheme", "The file is not a scheme of grades, or a key of it is wrong."
    HUNT_BAD_VERDICT = "hunt.bad_verdict", "The verdict names no grade of the scheme, or no object of the round."
    HUNT_DAMAGED = "hunt.damaged", "A file of the project of a hunt is missing or damaged."
    HUNT_MISSING = "hunt.missing", "The folder holds no project of a hunt, or the project has no such round."
    HUNT_NOT_SAVED = "hunt.not_saved", "A record of the project of a hunt cannot be written or read at the moment."
    INDEX_BAD_DIMS = "index.bad_dims", "The number of index dimensions is out of range."
    INDEX_BAD_ENGINE = "index.bad_engine", "No index engine has that name."
    INDEX_DAMAGED = "index.damaged", "A file of the index is damaged or has changed since it was written."
    INDEX_DIMENSION = "index.dimension", "The index has another number of dimensions than the embeddings."
    INDEX_NO_ENGINE = "index.no_engine", "The package of the index engine is not installed."
    INDEX_NO_SIDECAR = "index.no_sidecar", "An index file has no sidecar, so its dimension and metric are unknown."
    INDEX_NONE = "index.none", "The catalogue has no index."
    INDEX_PROCESS_DIED = (
        "index.process_died",
        "A process that built part of the index was killed, usually for lack of memory.",
    )
    INDEX_PROCESSOR = "index.processor", "The installed Annoy uses instructions that this processor does not have."
    INDEX_RECALL = "index.recall", "The requested recall cannot be reached with these index dimensions."
    INJECT_ASINH = "inject.asinh", "The pixels of an image are asinh of the counts, to which no light can be added."
    INJECT_BAND = "inject.band", "The survey has no band in which lenses are painted (u, g, r, i, z)."
    INJECT_COMPRESSION = "inject.compression", "The image is compressed in a way that the injection does not write."
    INJECT_FOREIGN = "inject.foreign", "The output folder holds the tiles themselves, or files of something else."
    INJECT_OTHER_SETTINGS = "inject.other_settings", "The output folder holds an injection with other settings."
    INJECT_RANGE = "inject.range", "The type of the pixels is too small for the light of a lens."
    INJECT_STARS = "inject.stars", "The image has too few stars to measure the seeing."
    INJECT_TWICE = "inject.twice", "The image has injected lenses already, which the truth table would lack."
    INJECT_WORKER = "inject.worker", "A process of the injection was killed, usually for lack of memory."
    INSPECT_BAD_INSPECTOR = (
        "inspect.bad_inspector",
        "The project has no inspector of that name, or the name cannot be used or is in use.",
    )
    INSPECT_BAD_PLAN = "inspect.bad_plan", "The objects of the project cannot be assigned as asked."
    INSPECT_BAD_TOKEN = "inspect.bad_token", "The token is not that of the inspector."
    INSPECT_BLIND = "inspect.blind", "The inspector has to grade first what the answer would reveal."
    INSPECT_CLOCK = "inspect.clock", "The clock of a machine that recorded verdicts jumped, or is wrong."
    INSPECT_DAMAGED = "inspect.damaged", "The file of the inspectors or of their assignments cannot be read."
    INSPECT_NO_PLAN = "inspect.no_plan", "The project has no plan of who grades what."
    INSPECT_NO_TRUTH = "inspect.no_truth", "No graded object of the project is known to be what the question needs."
    INSPECT_NOT_ASSIGNED = "inspect.not_assigned", "The object is not among those that the inspector has to grade."
    INSPECT_OTHER_PROJECT = (
        "inspect.other_project",
        "The folder is no copy of this project: it has another plan, other objects or another catalogue.",
    )
    INSPECT_REVEALED = "inspect.revealed", "The inspector has seen what others say, so the verdict stays."
    LANCE_NOT_INSTALLED = "lance.not_installed", "The package that reads and writes Lance datasets is not installed."
    LANCE_NOT_SUPPORTED = "lance.not_supported", "What was asked works on the folder of a catalogue, not on Lance."
    LENSES_BAD_GRADE = "lenses.bad_grade", "No grade of known lenses has that name."
    LENSES_BAD_KIND = "lenses.bad_kind", "No kind of known lens has that name."
    LENSES_BAD_LIST = (
        "lenses.bad_list",
        "A list of known lenses is empty, has a row without a position, or is given twice.",
    )
    LENSES_BAD_SOURCE = "lenses.bad_source", "The source of the lens compilation does not have the expected columns."
    LIST_BAD_LINE = (
        "list.bad_line",
        "A line of the list is neither a tile, nor a file of the survey, nor a matching glob.",
    )
    LIST_EMPTY = "list.empty", "The list of tiles is empty."
    LIST_MISSING = "list.missing", "The list of tiles does not exist."
    LIST_UNREADABLE = "list.unreadable", "The list of tiles cannot be read as UTF-8 text."
    MAP_BAD_REGION = "map.bad_region", "The text is not a box or a polygon on a map."
    MAP_BAD_METHOD = "map.bad_method", "No map method has that name."
    MAP_BAD_NAME = "map.bad_name", "The name cannot be used for a map."
    MAP_DAMAGED = "map.damaged", "A file of the map cannot be read; scanner map --refit makes the map anew."
    MAP_MISSING = "map.missing", "The catalogue has no map of that name."
    MAP_NOT_INSTALLED = "map.not_installed", "The package of the map method is not installed."
    MAP_TOO_FEW = "map.too_few", "The catalogue has too few objects for a map."
    MODEL_BAD_CONTRACT = "model.bad_contract", "The contract of the model file is incomplete or contradicts itself."
    MODEL_BAD_OUTPUT = (
        "model.bad_output",
        "The model fails on a test batch, or its output is not finite and of unit length.",
    )
    MODEL_DAMAGED = "model.damaged", "The model file has changed since it was exported."
    MODEL_EXTERNAL_DATA = "model.external_data", "The model file keeps weights in other files."
    MODEL_MISSING = "model.missing", "The model file does not exist."
    MODEL_NO_CONTRACT = (
        "model.no_contract",
        "The model file carries no contract, so its bands, units and pixel scale are unknown.",
    )
    MODEL_NO_PRECISION = "model.no_precision", "The model has no file of the requested precision."
    MODEL_OTHER_BANDS = "model.other_bands", "The model needs bands that the survey or the scan does not provide."
    MODEL_OTHER_PRECISION = "model.other_precision", "The model file is of another precision than the one requested."
    MODEL_OTHER_WEIGHTS = (
        "model.other_weights",
        "The reduced-precision file was made from other weights than the model beside it.",
    )
    MODEL_UNREADABLE = "model.unreadable", "The runtime cannot read the model file."
    MODEL_VERSION = "model.version", "The contract has a version that this release does not read."
    NAME_UNRESOLVED = "name.unresolved", "The name is not a position and no known lens."
    OUTLIERS_BAD_METHOD = "outliers.bad_method", "No outlier method has that name."
    OUTLIERS_FEW_OBJECTS = "outliers.few_objects", "The catalogue has too few objects for this method."
    OUTPUT_BAD_NAME = "output.bad_name", "The name of the output is not UTF-8, or it is an address."
    OUTPUT_CLOSED = "output.closed", "Standard output is closed, or cannot be written."
    OUTPUT_FULL = "output.full", "The disk is full."
    OUTPUT_NO_LOCKS = (
        "output.no_locks",
        "The file system does not lock files, so two runs could damage each other's output.",
    )
    OUTPUT_READ_ONLY = (
        "output.read_only",
        "The output cannot be written, for lack of permission or on a read-only disk.",
    )
    POSITION_OFF_SKY = "position.off_sky", "The text is not an angle, or the angle is not on the sky."
    PUBLISH_BAD_OPTION = "publish.bad_option", "An option of the publication is out of range."
    PUBLISH_CHANGED = "publish.changed", "The catalogue, or the unfinished publication, changed while it was published."
    PUBLISH_DAMAGED_TILE = "publish.damaged_tile", "Some tiles cannot be read; a publication leaves no tile out."
    PUBLISH_NOT_EMPTY = (
        "publish.not_empty",
        "The output folder exists and is not an unfinished publication of this catalogue.",
    )
    PUBLISH_NOTHING = "publish.nothing", "No row is selected for publication."
    QUERY_BAD_K = "query.bad_k", "The number of objects requested is out of range."
    QUERY_BAD_VECTOR = "query.bad_vector", "The vector does not have the dimension of the embeddings, or is not finite."
    QUERY_NO_EMBEDDING = "query.no_embedding", "The object has no valid embedding."
    QUERY_NO_GRID = "query.no_grid", "The survey has no tile grid, so the tile of a position is unknown."
    QUERY_NO_OBJECT = "query.no_object", "The catalogue has no object at that position."
    QUERY_NO_PIXELS = "query.no_pixels", "The tile has no data at that position."
    QUERY_NO_ROOT = "query.no_root", "Pixels are needed, and --root was not given."
    QUERY_OUTSIDE_COVERAGE = "query.outside_coverage", "No available tile covers the position."
    QUERY_UNKNOWN_OBJECT = "query.unknown_object", "The catalogue has no object with that id."
    RANK_BAD_METHOD = "rank.bad_method", "No ranking method has that name."
    RANK_BAD_NEXT = "rank.bad_next", "No rule for the next candidates has that name."
    RANK_BAD_PREVALENCE = "rank.bad_prevalence", "The prevalence is not between 0 and 1."
    RANK_FEW_LENSES = "rank.few_lenses", "Too few known lenses are in the catalogue to evaluate a ranking."
    RANK_NO_EXAMPLE = "rank.no_example", "The method needs examples, and none is given or has an embedding."
    RANK_NO_ORDINARY = "rank.no_ordinary", "The catalogue has no ordinary objects to compare the examples with."
    RANK_NO_PIXELS = "rank.no_pixels", "Examples without an object need pixels, and there are none at hand."
    RANK_NO_PROBABILITY = (
        "rank.no_probability",
        "The method gives no probabilities, so no candidate can be called uncertain.",
    )
    RANK_NO_SCORE = "rank.no_score", "The catalogue has no lens score, which the method needs."
    READER_NOT_STARTED = "reader.not_started", "A reading process ended before it read its first tile."
    RELEASE_BAD_OPTION = "release.bad_option", "An option of the release of candidates is not possible."
    RELEASE_BLIND = (
        "release.blind",
        "Inspectors who owe grades must not see those of the others, as a release shows them.",
    )
    RELEASE_DAMAGED = "release.damaged", "The folder is not a complete model release."
    RELEASE_EXISTS = "release.exists", "The folder for the release is not empty; a release is never changed."
    RELEASE_NO_VERDICTS = "release.no_verdicts", "Nobody has judged any object of the project."
    RELEASE_NOT_EMPTY = "release.not_empty", "The folder has files of a release's names that are not of a release."
    RELEASE_NOT_INSTALLED = "release.not_installed", "The package that writes the ReadMe of a release is not installed."
    RELEASE_NOTHING = "release.nothing", "No inspected object has one of the grades that are released."
    RELEASE_UNGRADED = (
        "release.ungraded",
        "Objects of the project have no verdict, or were put forward and have no grade.",
    )
    REMOTE_BAD_URL = "remote.bad_url", "The address is malformed, or is a chain of addresses."
    REMOTE_BROKEN = "remote.broken", "A remote file could not be read completely, or its server does not answer."
    REMOTE_DENIED = "remote.denied", "Access to a remote file or dataset was denied."
    REMOTE_ENCODED = "remote.encoded", "The server compressed a file although it was asked not to."
    REMOTE_NOT_INSTALLED = "remote.not_installed", "The package or program for this kind of address is not installed."
    REMOTE_TOO_LARGE = "remote.too_large", "A remote file does not end, or is larger than any image or the free space."
    REMOTE_TOO_SLOW = "remote.too_slow", "A remote file did not arrive within --time-limit."
    REMOTE_UNKNOWN_SCHEME = "remote.unknown_scheme", "Addresses of this kind are not supported."
    ROOT_UNREADABLE = "root.unreadable", "The folder of --root, or one in it, is missing, a file, or may not be read."
    RUN_EXISTS = "run.exists", "The output folder already holds a training run."
    RUN_OTHER_CONFIG = "run.other_config", "The run was started with another configuration."
    RUN_OTHER_DATA = "run.other_data", "The run was started with other shards."
    RUN_OTHER_MINUTES = "run.other_minutes", "The run was started with another --minutes."
    RUN_OTHER_MODEL = "run.other_model", "The weights of the first run do not fit this model."
    RUNTIME_BROKEN = (
        "runtime.broken",
        "A runtime is installed incompletely, or two builds of ONNX Runtime overwrite each other.",
    )
    RUNTIME_DISAGREES = (
        "runtime.disagrees",
        "On this processor, the runtime gives other embeddings than ONNX Runtime does, beyond what is allowed.",
    )
    RUNTIME_MISSING = "runtime.missing", "ONNX Runtime, or OpenVINO where it was asked for, is not installed."
    RUNTIME_OLD = "runtime.old", "The installed OpenVINO is too old."
    RUNTIME_UNKNOWN = "runtime.unknown", "No runtime has that name."
    SAMP_NO_HUB = "samp.no_hub", "No SAMP hub is running on this machine."
    SAMP_NO_RECEIVER = "samp.no_receiver", "No program that is connected to the SAMP hub loads tables."
    SHARD_BAD_ENVIRONMENT = "shard.bad_environment", "The batch system's variables do not describe a valid share."
    SHARD_NO_ENVIRONMENT = "shard.no_environment", "--shard auto was given outside a SLURM array, srun or CANFAR."
    SHARDS_BAD = "shards.bad", "A training shard contradicts its manifest."
    SHARDS_EMPTY = "shards.empty", "The folder has too few training cutouts."
    SHARDS_MISSING = "shards.missing", "The folder has no training shards."
    SHARDS_OTHER_PIXELS = (
        "shards.other_pixels",
        "The training shards have other bands, another pixel scale or another size.",
    )
    SHARDS_OTHER_SEED = "shards.other_seed", "The folder holds training shards of another seed."
    SKY_OUT_OF_RANGE = "sky.out_of_range", "The position or radius is not a region of the sky."
    SOURCES_AMBIGUOUS = (
        "sources.ambiguous",
        "The table leaves open which of its columns or tables are the positions, or in which frame these are.",
    )
    SOURCES_BAD_UNIT = "sources.bad_unit", "The unit of a column is unknown, or not one of what the column holds."
    SOURCES_MISSING = "sources.missing", "The table of positions does not exist."
    SOURCES_NO_COLUMN = "sources.no_column", "The table has no column of that name."
    SOURCES_NO_LABEL = "sources.no_label", "No row of the table has that label."
    SOURCES_NO_POSITIONS = "sources.no_positions", "The table has no usable columns of positions."
    SOURCES_OTHER_TILE = (
        "sources.other_tile",
        "The table holds pixels of another tile, or pixels of one tile for several.",
    )
    SOURCES_UNREADABLE = "sources.unreadable", "The table cannot be read."
    SURVEY_BAD_FILE = "survey.bad_file", "The survey file is not TOML, or one of its keys is missing, unknown or wrong."
    SURVEY_MISSING = "survey.missing", "The survey is neither built in nor a readable file."
    SURVEY_NO_GRID = "survey.no_grid", "The survey has no tile grid, which this command needs."
    SURVEY_UNKNOWN_BAND = "survey.unknown_band", "The survey has no band of that name."
    TENSORBOARD_MISSING = "tensorboard.missing", "TensorBoard is not installed."
    TILE_ALL_NAN = "tile.all_nan", "The tile has no pixel with data in any band."
    TILE_BAD_HEADER = "tile.bad_header", "A FITS header of the tile is damaged or contradicts itself."
    TILE_BAD_NAME = "tile.bad_name", "The text is not the name of a tile of this survey."
    TILE_BANDS_ELSEWHERE = "tile.bands_elsewhere", "A band of the tile lies elsewhere on the sky than the others."
    TILE_CHANGED = "tile.changed", "A file of the tile changed while it was read; the next run retries it."
    TILE_CHECKSUM = "tile.checksum", "An image is not what it was when its DATASUM or CHECKSUM was written."
    TILE_DAMAGED = (
        "tile.damaged",
        "The tile's Parquet file is damaged, or not of this catalogue; repeat the scan with --verify.",
    )
    TILE_ELSEWHERE = "tile.elsewhere", "The images lie elsewhere on the sky than the tile of their name."
    TILE_KILLS_WORKERS = (
        "tile.kills_workers",
        "The tile killed three workers and is quarantined; the next run retries it once.",
    )
    TILE_MISSING_FILE = "tile.missing_file", "A file of the tile does not exist."
    TILE_NO_IMAGE_HDU = "tile.no_image_hdu", "The file has no two-dimensional image in the expected HDU."
    TILE_NO_WCS = "tile.no_wcs", "The file has no usable world coordinate system."
    TILE_NOT_FITS = "tile.not_fits", "The file is not FITS."
    TILE_OFF_GRID = "tile.off_grid", "The UNIONS grid has no tile of that name."
    TILE_OUT_OF_MEMORY = "tile.out_of_memory", "The tile needs more memory than is available."
    TILE_PIXEL_SCALE = "tile.pixel_scale", "The pixel scale is not the model's; --resample adapts the cutouts."
    TILE_READER_DIED = "tile.reader_died", "The process that read the tile was killed, usually for lack of memory."
    TILE_READER_HUNG = "tile.reader_hung", "The process that read the tile exceeded --time-limit."
    TILE_SAME_NUMBER = "tile.same_number", "The ids of the tile's objects would be those of another tile's."
    TILE_SHAPE_MISMATCH = "tile.shape_mismatch", "The bands of the tile differ in shape."
    TILE_TOO_CROWDED = "tile.too_crowded", "Source detection exceeded its limits on this tile."
    TILE_TOO_LARGE = "tile.too_large", "The image is larger than the scanner reads."
    TILE_TOO_MANY = "tile.too_many", "The tile has more objects than its number range of ids can hold."
    TILE_TRUNCATED = "tile.truncated", "The file is shorter than its headers say."
    TILE_UNEXPECTED = "tile.unexpected", "An unexpected error occurred on this tile; please report it."
    TILE_UNKNOWN_UNIT = (
        "tile.unknown_unit",
        "The header gives pixels a unit, zero point or scale that cannot be converted to nanojansky.",
    )
    TILE_UNREADABLE = "tile.unreadable", "The file cannot be read."
    TILE_ZERO_POINT = "tile.zero_point", "Zero points of a header contradict each other, or the survey file."
    VIEWERS_NOTHING = "viewers.nothing", "No object with an embedding is selected for a viewer of embeddings."
    WEB_BAD_ALADIN = "web.bad_aladin", "The page has no Aladin Lite, or what --aladin names is none."
    WEB_BAD_HOST = "web.bad_host", "The request calls the server by a name that it does not have."
    WEB_BAD_ORIGIN = "web.bad_origin", "The request comes from a page of another site."
    WEB_BAD_REQUEST = "web.bad_request", "A parameter of the request is missing, or has a value that is not allowed."
    WEB_NOT_INSTALLED = "web.not_installed", "A package of the page is not installed."
    WEB_NO_PAGE = "web.no_page", "The server has no page at the address, or not with the method of the request."
    WEB_NO_TOKEN = "web.no_token", "The request lacks the token of the server."
    WEB_PORT = "web.port", "The server of the page cannot listen at the address and port."
    WEB_TOO_LARGE = "web.too_large", "The body of the request is larger than the server takes."
    WHERE_COLUMN = "where.column", "The filter names a column that does not exist or cannot be compared."
    WHERE_SYNTAX = "where.syntax", "The filter cannot be parsed."
    WHERE_TYPE = "where.type", "The filter compares values of types that do not match."


class ScannerError(Exception):
    """A failure the user can act on.

    ``code`` is contractual (dotted, stable: ``tile.no_image_hdu``); ``message`` and ``hint`` may evolve. They are
    text that every file and terminal takes: bytes of a file name that are no UTF-8 are written as escapes.
    """

    def __init__(self, code: ErrorCode, message: str, hint: str = "") -> None:
        self.code = code
        self.message, self.hint = (text.encode(errors="backslashreplace").decode() for text in (message, hint))
        super().__init__(code, self.message, self.hint)

    def __str__(self) -> str:
        return self.message

    def report(self) -> str:
        """What a person is shown: the message, the hint and the code, a line each."""
        hint = f"\nHint: {self.hint}" if self.hint else ""
        return f"Error: {self.message}{hint}\n[{self.code}]"
