"""Evaluation tasks: functions that score the embeddings of one model.

The command line only needs this list, so that its help loads no network; ``training.evaluate.run`` imports a task when
it runs.
"""

TASKS = {
    "retrieval": "lenses:retrieval",
    "probe": "lenses:lens_probe",
    "few-shot": "lenses:few_shot",
    "lens-score": "scores:lens_score",
    "fused": "scores:fused",
    "look-alikes": "scores:lookalikes",
    "rare-lenses": "simulated:rare_lenses",
    "invariance": "lenses:invariance",
    "bands": "simulated:some_bands",
    "seeing": "simulated:other_seeing",
    "surveys": "simulated:three_surveys",
    "galaxy": "pictures:galaxy",
    "galaxy-zoo": "pictures:galaxy_zoo",
    "star-galaxy": "simulated:star_galaxy",
    "photometry": "simulated:photometry",
}
"""Module and function of each task, in the order of the table."""

SIMULATED = ("rare-lenses", "star-galaxy", "photometry")
"""Tasks that need the simulated tiles."""

PAINTED = ("look-alikes",)
"""Tasks that need a folder of shards with painted lenses."""
