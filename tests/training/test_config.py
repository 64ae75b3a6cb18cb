"""A configuration is read whole or refused with the name of what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from catalogs.errors import ScannerError
from training.config import Config, Objective, read

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_configurations_read_and_survive_json(path: Path) -> None:
    config = read(path)
    assert config.name == path.stem
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_retired_key_is_read_over_where_it_is_recorded_and_refused_where_it_is_asked_for() -> None:
    config = read(CONFIGS / "small-lens.toml")
    tables = config.to_dict()
    tables["score"] |= {"keep": 1.0, "keep_share": 0.25}
    assert Config.from_recorded(tables, "a checkpoint") == config
    with pytest.raises(ScannerError, match="score has the unknown key 'keep'"):
        Config.from_dict(tables)
    tables["score"] |= {"keeep": 1.0}
    with pytest.raises(ScannerError, match="a checkpoint: score has the unknown key 'keeep'"):
        Config.from_recorded(tables, "a checkpoint")


@pytest.mark.parametrize("name", ["small", "large", "rehearsal"])
def test_a_second_stage_can_begin_with_its_first(name: str) -> None:
    first, second = read(CONFIGS / f"{name}-reconstruct.toml"), read(CONFIGS / f"{name}.toml")
    assert first.objective == Objective()
    assert (first.model.mask_ratio, first.model.normalised_target) == (0.75, True)
    assert replace(second.model, mask_ratio=0.75, normalised_target=True) == first.model
    assert second.objective == read(CONFIGS / "small.toml").objective
    assert (second.augment.noise, second.model.mask_ratio) == (2.0, 0.5)


@pytest.mark.parametrize("stage", ["", "-reconstruct"])
def test_the_rehearsal_is_the_large_run_but_for_its_size(stage: str) -> None:
    large, rehearsal = read(CONFIGS / f"large{stage}.toml"), read(CONFIGS / f"rehearsal{stage}.toml")
    shape = ("patch", "dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads")
    length = ("steps", "batch", "warmup")
    assert (large.augment, large.objective, large.run.precision) == (
        rehearsal.augment, rehearsal.objective, rehearsal.run.precision
    )  # fmt: skip
    assert replace(rehearsal.model, **{key: getattr(large.model, key) for key in shape}) == large.model
    assert replace(rehearsal.optimiser, **{key: getattr(large.optimiser, key) for key in length}) == large.optimiser
    assert large.run.loaders > 1 < rehearsal.run.loaders


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour = 1", "colour"),
        ("[model]\nwidth = 3", "width"),
        ("[model]\nwindow = 60", "60"),
        ("[model]\ndim = 190", "190"),
        ('[model]\ndim = "wide"', "wide"),
        ("[model]\nmask_ratio = 1.0", "mask_ratio"),
        ("[model]\nmask_ratio = 0.99", "mask_ratio"),
        ('[model]\nbands = ["g", "g"]', "bands"),
        ("[model]\npatch = 0", "patch"),
        ("[model]\nheads = 0", "heads"),
        ("[optimiser]\nbatch = 10\naccumulate = 3", "accumulate"),
        ("[optimiser]\naccumulate = 0", "accumulate"),
        ("[optimiser]\nsteps = 0", "steps"),
        ("[optimiser]\nlr = nan", "lr"),
        ("[optimiser]\nbetas = [0.9]", "betas"),
        ('[optimiser]\nbetas = ["a", "b"]', "betas"),
        ("[model]\nbands = [1, 2]", "bands"),
        ('[objective]\npooling = "median"', "median"),
        ("[objective]\ntemperature = 0.0", "temperature"),
        ("[objective]\ncontrast = -1.0", "contrast"),
        ("[augment]\ndrop_band = 1.5", "drop_band"),
        ("[augment]\njitter = -1", "jitter"),
        ("[data]\nrepeat = { field = -1 }", "field"),
        ("[data]\nrepeat = { field = 1.5 }", "field"),
        ("[run]\nlog_every = 0", "log_every"),
        ("[run]\nembed_rows = 0", "embed_rows"),
        ('[run]\nprecision = "float16"', "float16"),
        ("model = 3", "model"),
        ("[model\n", "TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ScannerError, match=named) as caught:
        read(path)
    assert caught.value.code == "config.bad"


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ScannerError) as caught:
        read(tmp_path / "none.toml")
    assert caught.value.code == "config.missing"
