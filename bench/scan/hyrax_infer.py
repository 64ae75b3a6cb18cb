"""Hyrax's ``infer`` over cutouts in memory. Run by a Python that has hyrax and timm: it imports nothing of ours.

``python hyrax_infer.py CUTOUTS.npy SIZES`` (SIZES: JSON of the network's) answers each line of its standard input, a
number of cutouts, with the seconds that ``infer`` took over as many.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import hyrax
import numpy as np
import torch
from hyrax.datasets.dataset_registry import HyraxDataset
from hyrax.models.model_registry import hyrax_model
from timm.models.vision_transformer import VisionTransformer

FLUX = np.load(sys.argv[1])
SIZES = json.loads(sys.argv[2])
USED = [len(FLUX)]


def transformer():
    """timm's, with random weights."""
    return VisionTransformer(num_classes=0, global_pool="avg", **SIZES)


class Cutouts(HyraxDataset):
    """The first cutouts, as many as are asked for."""

    def __init__(self, config, data_location=None):
        super().__init__(config)

    def __len__(self):
        return USED[0]

    def get_image(self, index):
        return FLUX[index]

    def get_object_id(self, index):
        return str(index)


@hyrax_model
class Network(torch.nn.Module):
    """The transformer of the encoder's sizes, with random weights."""

    def __init__(self, config, data_sample=None):
        super().__init__()
        self.config = config
        self.vit = transformer()

    def forward(self, batch):
        return self.vit(batch)

    def infer_batch(self, batch):
        return self(batch)

    def train_batch(self, batch):
        raise NotImplementedError

    @staticmethod
    def prepare_inputs(data_dict):
        return data_dict["data"]["image"]


def main() -> None:
    """Answer until there is nothing more to answer."""
    # What Hyrax prints must not mix with the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    with TemporaryDirectory() as folder:
        running = hyrax.Hyrax()
        weights = Path(folder) / "weights.pth"
        # Hyrax takes a file of weights; random ones cost the same time.
        torch.save(torch.nn.ModuleDict({"vit": transformer()}).state_dict(), weights)
        settings = {
            "general.results_dir": folder,
            "general.log_level": "error",
            "model.name": "Network",
            "infer.model_weights_file": str(weights),
            "data_request": {
                "infer": {
                    "data": {
                        "dataset_class": "Cutouts",
                        "data_location": folder,
                        "fields": ["image"],
                        "primary_id_field": "object_id",
                    }
                }
            },
        }
        for name, value in settings.items():
            running.set_config(name, value)
        for line in sys.stdin:
            USED[0] = int(line)
            began = time.perf_counter()
            running.infer()
            answers.write(f"{time.perf_counter() - began}\n")
            answers.flush()


if __name__ == "__main__":
    main()
