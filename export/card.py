"""Model card: what the encoder is, its training data, its checks, and its limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from catalogs.digest import file_sha256
from catalogs.text_table import markdown_table
from export.to_onnx import Exported
from scanner.encoder.agreement import Agreement
from scanner.encoder.contract import Contract
from training.config import Augment
from training.cutouts import real_fields
from training.evaluate.report import NOTE, card_table
from training.loop.checkpoint import Checkpoint


def render(
    done: Exported,
    formats: Mapping[str, Agreement] | None = None,
    files: Sequence[Path] = (),
    evaluation: Path | None = None,
) -> str:
    """Write the card in Markdown, from the files, the checkpoint, the verification and ``evaluation.json``.

    ``files`` are those of the release, by default the exported one; ``formats`` holds the agreement of the others.
    """
    contract, checkpoint = done.contract, done.checkpoint
    measured = [] if evaluation is None else ["## Evaluation", _worth(evaluation)]
    parts = [
        f"# {checkpoint.config.name}: a masked autoencoder's encoder of survey cutouts",
        _what(contract), "## Use", USE if contract.scores is None else SCORED_USE, *measured,
        "## Training data", _describe_cutouts(checkpoint), "## Training", _trained(checkpoint),
        "## Pixels", _pixels(contract), "## Checks", _describe_verification(done, formats or {}),
        "## Limits", LIMITS if contract.scores is None else LIMITS + SCORE_LIMITS,
        "## Licence and checksums", _sums(done, files or [done.path]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


USE = """\
The scanner takes `encoder.onnx`, or the model's name; `--precision int8` (CPU) and `fp16` (GPU) take the files beside
it. In plain ONNX Runtime:

```python
import onnxruntime

session = onnxruntime.InferenceSession("encoder.onnx")
embedding = session.run(["embedding"], {"flux": flux})[0]
```

In torch, from `model.safetensors` and `config.json` of the release (`pip install 'unions-scanner[training]'`):

```python
import torch
from pathlib import Path
from training.loop.release_folder import load_release

encoder = load_release(Path("."))
with torch.no_grad():
    embedding = encoder(torch.as_tensor(flux))
```

`sha256sum --check --ignore-missing SHA256SUMS` checks the files; an installed package comes without
`model.safetensors`."""

# The same snippets with both results.
SCORED_USE = USE.replace("embedding = ", "embedding, scores = ").replace(
    'session.run(["embedding"], {"flux": flux})[0]', 'session.run(["embedding", "scores"], {"flux": flux})'
)

LIMITS = """\
- It measures similarity: neighbours of a lens are candidates to look at, not detections.
- It was trained on the cutouts above only, without a label of any real object. Another depth, seeing or pixel scale
  shifts its embeddings. Cutouts of another pixel scale must be resampled to the one above first.
- Embeddings of this model can only be compared with each other, by cosine. They are centred on its training cutouts.
- A cutout without data in any band still gets a unit vector, which is meaningless. Filter by `valid_fraction`."""

SCORE_LIMITS = """
- Scores are log-odds at the prevalence above and for the population above. At another prevalence p add
  log(p / (1 - p)) less its value at that prevalence. In another population they are a ranking, not probabilities."""

SIMULATED = "scenes of `training/simulate`: galaxies, stars, lenses and look-alikes as UNIONS observes them"


def _what(contract: Contract) -> str:
    bands, side = "".join(contract.bands), contract.window
    return (
        f"`flux` float32 [N, {len(contract.bands)}, {side}, {side}] in {contract.flux_unit} (AB), bands {bands}, "
        f'{contract.pixel_scale}" a pixel, NaN for no data, to `embedding` float32 [N, {contract.embedding_dim}] of '
        f"unit length. Pooling: {contract.pooling}. Dimensions are ordered by falling variance. No patch is masked."
        + _describe_scores(contract)
    )


def _describe_scores(contract: Contract) -> str:
    scores = contract.scores
    if scores is None:
        return ""
    return (
        f"\n\nThe second output, `scores` float32 [N, {len(scores.names)}], has natural log-odds of "
        f"{', '.join(scores.names)}, each at a prevalence of {scores.prevalence:g}. A scan stores them in the columns "
        f"{', '.join(f'`{column}`' for column in scores.columns)}. Population of the calibration: {scores.population}"
    )


def _describe_cutouts(checkpoint: Checkpoint) -> str:
    manifest = checkpoint.data["manifest"]
    repeat = checkpoint.config.data.repeat
    # A shard without a split is for training.
    rows = ((s["source"], s.get("split", "train"), s["rows"], repeat.get(s["source"], 1)) for s in manifest["shards"])
    about = {"simulated": SIMULATED, **real_fields.about()}
    table = [(row[0], about.get(row[0], "-"), *row[1:]) for row in _summed(rows)]
    return "\n\n".join(
        [
            f"Cutouts of {manifest['window']} px ({manifest['unit']}), manifest sha256 "
            f"`{checkpoint.data['manifest_sha256']}`. Split *train* was trained on, *validate* gave the loss below.",
            markdown_table(("source", "what it is", "split", "cutouts", "times an epoch"), table),
        ]
    )


def _summed(rows: Iterable[tuple[str, str, int, int]]) -> list[tuple[str, str, int, int]]:
    totals: dict[tuple[str, str, int], int] = {}
    for source, split, count, repeat in rows:
        # Repeats apply to training only: validation reads each cutout once.
        key = (source, split, repeat if split == "train" else 1)
        totals[key] = totals.get(key, 0) + count
    return [(source, split, count, repeat) for (source, split, repeat), count in sorted(totals.items())]


def _trained(checkpoint: Checkpoint) -> str:
    model, o, progress = checkpoint.config.model, checkpoint.config.optimiser, checkpoint.progress
    # The held-out loss is None if no cutouts were held out.
    loss = progress["validation"]
    return (
        f"Masked autoencoder (He et al. 2021, arXiv:2111.06377): ViT of dim {model.dim}, depth {model.depth}, "
        f"{model.heads} heads, patch {model.patch}; {model.mask_ratio:.0%} of patches masked; loss: mean squared error "
        f"of {'normalised' if model.normalised_target else 'stretched'} pixels that are valid and were hidden. "
        f"{progress['step']} steps of {o.batch} cutouts in {progress['seconds'] / 60:.0f} min, AdamW, rate {o.lr:g}"
        + (f"; the weights are averaged over the last steps (decay {o.ema:g}). " if o.ema else ". ")
        + f"{_augmented(checkpoint.config.augment)} Last training loss {progress['loss']:.4f}"
        + (f", held-out loss {loss:.4f} (no augmentation)." if loss is not None else "; nothing was held out.")
        + _terms(checkpoint)
    )


def _augmented(augment: Augment) -> str:
    """Describe the augmentation in a sentence."""
    parts = [
        (augment.flips, "turned and mirrored"),
        (augment.jitter, f"moved by up to {augment.jitter} px"),
        (augment.drop_band, f"with each band hidden in {augment.drop_band:.0%} of cases"),
        (augment.drop_patch, f"with each patch of a band hidden in {augment.drop_patch:.0%}"),
        (augment.noise, f"with added noise of up to {augment.noise:g} times that of their background"),
    ]
    changes = ", ".join(text for used, text in parts if used)
    return f"Cutouts were {changes or 'used as they are'}."


def _terms(checkpoint: Checkpoint) -> str:
    """Describe the terms beside the reconstruction, and the runs before this one."""
    objective, text = checkpoint.config.objective, ""
    if objective.contrast:
        numbers = f"weight {objective.contrast:g}, temperature {objective.temperature:g}"
        text += f" Two views of every cutout were compared (InfoNCE, {numbers})."
    if objective.simulated:
        text += (
            f" A linear layer learned the kinds of simulated objects (cross entropy, weight {objective.simulated:g})."
        )
    if checkpoint.is_scored:
        score = checkpoint.config.score
        text += (
            f" Encoder and a head of {score.hidden} units learned the classes {', '.join(score.classes)} (cross "
            f"entropy, label smoothing {score.smoothing:g})."
        )
    return text + _describe_stages(checkpoint)


def _describe_stages(checkpoint: Checkpoint) -> str:
    """Describe the runs before this one; an early checkpoint only has the digest of the weights it began with."""
    stages = [
        f"`{stage['name']}`: {stage['steps']} steps, {stage['images']:,} images, {stage['minutes']:.0f} min, "
        f"{stage['mask_ratio']:.0%} of patches masked, {'normalised' if stage['normalised_target'] else 'stretched'} "
        f"pixels (weights `{stage['weights_sha256']}`)"
        for stage in checkpoint.data.get("stages", [])
    ]
    origin = "; then ".join(stages) or f"`{checkpoint.data.get('began_with', '')}`"
    return f" The run began with the weights of {origin}." if "began_with" in checkpoint.data else ""


def _pixels(contract: Contract) -> str:
    s = contract.stretch
    rows = zip(contract.bands, *(map("{:.4g}".format, s[key]) for key in ("softening", "mean", "std")), strict=True)
    return f"`{s['formula']}`, missing pixels and bands: {s['missing']}.\n\n" + markdown_table(
        ("band", "softening (nJy)", "mean", "std"), rows
    )


def _worth(evaluation: Path) -> str:
    return (
        "Measured on real lenses that were not trained on, labelled pictures and simulations, beside baselines. "
        "docs/develop/evaluation.md describes each measure."
        f"\n\n{card_table(evaluation)}\n\n{NOTE}"
    )


def _describe_verification(done: Exported, formats: Mapping[str, Agreement]) -> str:
    result = done.verification
    heads, bounds = ["check", "max abs difference"], f"(at most {result.tolerance:.0e})"
    rows = [[name, f"{worst:.1e}"] for name, worst in result.worst.items()]
    if result.scores:
        heads.append("of a score")
        bounds += f", and of any score (at most {result.score_tolerance:.0e})"
        rows = [[*row, f"{worst:.1e}"] for row, worst in zip(rows, result.scores.values(), strict=True)]
    return (
        f"ONNX Runtime against torch on {result.pixels}, largest difference of any coordinate {bounds}:\n\n"
        + markdown_table(heads, rows)
        + "".join(f"\n\n{name} against fp32, on such pixels: {agreement}." for name, agreement in formats.items())
    )


def _sums(done: Exported, files: Sequence[Path]) -> str:
    # All formats hold the digest of the same float32 weights, which identifies their common origin.
    sums = ((path.name, f"`{file_sha256(path)}`") for path in files)
    return f"{done.contract.licence}\n\n" + markdown_table(
        ("file", "sha256"), [*sums, ("weights, in any file format", f"`{done.contract.weights_sha256}`")]
    )
