"""The masked autoencoder does what the paper says, on survey pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.config import Model
from training.model.mae import MaskedAutoencoder, patchify, sincos, unpatchify, visible_first
from training.model.pixels import asinh

TINY = Model(
    bands=("g", "r", "i"), window=32, patch=8, dim=32, depth=2, heads=2,
    decoder_dim=16, decoder_depth=1, decoder_heads=2,
)  # fmt: skip


@pytest.fixture
def model() -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(TINY).eval()


def batch(n: int = 4, config: Model = TINY) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    flux = 3 * torch.randn(n, len(config.bands), config.window, config.window, generator=random)
    return flux, torch.rand(n, config.patches, generator=random)


def copy_to_transformers(ours: MaskedAutoencoder, theirs: torch.nn.Module) -> None:
    """Copy every weight of ours into a ViTMAEForPreTraining; fails if one of theirs is left out."""
    mine, state = ours.state_dict(), {}

    def same(to: str, source: str) -> None:
        for kind in ("weight", "bias"):
            state[f"{to}.{kind}"] = mine[f"{source}.{kind}"]

    def block(to: str, source: str) -> None:
        for kind in ("weight", "bias"):
            parts = mine[f"{source}.attn.qkv.{kind}"].chunk(3)
            state.update({f"{to}.attention.{p}_proj.{kind}": part for p, part in zip("qkv", parts, strict=True)})
        same(f"{to}.attention.o_proj", f"{source}.attn.proj")
        same(f"{to}.layernorm_before", f"{source}.norm1")
        same(f"{to}.layernorm_after", f"{source}.norm2")
        same(f"{to}.mlp.fc1", f"{source}.mlp.fc1")
        same(f"{to}.mlp.fc2", f"{source}.mlp.fc2")

    state["vit.embeddings.cls_token"] = mine["encoder.vit.cls_token"]
    state["vit.embeddings.position_embeddings"] = ours.encoder.positions[None]
    same("vit.embeddings.patch_embeddings.projection", "encoder.vit.patch_embed.proj")
    for i in range(ours.config.depth):
        block(f"vit.layers.{i}", f"encoder.vit.blocks.{i}")
    same("vit.layernorm", "encoder.vit.norm")
    state["decoder.mask_token"] = mine["decoder.mask_token"]
    state["decoder.decoder_pos_embed"] = ours.decoder.positions[None]
    same("decoder.decoder_embed", "decoder.embed")
    for i in range(ours.config.decoder_depth):
        block(f"decoder.decoder_layers.{i}", f"decoder.blocks.{i}")
    same("decoder.decoder_norm", "decoder.norm")
    same("decoder.decoder_pred", "decoder.predict")
    theirs.load_state_dict(state, strict=True)


@pytest.mark.parametrize("normalised", [False, True])
def test_agrees_with_transformers_on_copied_weights_and_the_same_noise(normalised: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="the reference implementation is not installed")
    config = Model(dim=48, depth=3, heads=3, decoder_dim=32, decoder_depth=2, normalised_target=normalised)
    torch.manual_seed(2)
    ours = MaskedAutoencoder(config).eval()
    for parameter in ours.parameters():  # biases and norms away from zero and one
        parameter.data += 0.05 * torch.randn_like(parameter)
    theirs = transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(
            image_size=64, patch_size=8, num_channels=5, mask_ratio=0.75, norm_pix_loss=normalised,
            layer_norm_eps=1e-6, attn_implementation="eager",
            hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=192,
            decoder_hidden_size=32, decoder_num_hidden_layers=2, decoder_num_attention_heads=4,
            decoder_intermediate_size=128,
        )
    ).eval()  # fmt: skip
    copy_to_transformers(ours, theirs)
    flux, noise = batch(6, config)
    with torch.no_grad():
        mine = ours(flux, noise)
        reference = theirs(pixel_values=ours.pixels(flux), noise=noise)
    assert torch.equal(mine.masked.float(), reference.mask)
    assert abs(mine.loss - reference.loss) < 1e-4
    assert (mine.prediction - reference.logits).abs().max() < 1e-4


def test_positions_are_those_of_the_paper() -> None:
    """Columns in the first half, rows in the second; sines, then cosines, of geometric frequencies from 1 to 1e-4."""
    positions = sincos(16, 8)
    assert positions.shape == (65, 16)
    assert not positions[0].any()
    row, column, frequencies = 5, 3, np.array([1, 0.1, 0.01, 0.001])
    expected = [wave(at * frequencies) for at in (column, row) for wave in (np.sin, np.cos)]
    np.testing.assert_allclose(positions[1 + row * 8 + column], np.concatenate(expected), atol=1e-6)


def test_patchify_and_back() -> None:
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(unpatchify(patchify(x, 8), 8), x)


def test_three_quarters_are_masked_differently_in_every_cutout() -> None:
    keep, masked = visible_first(torch.rand(64, 64, generator=torch.Generator().manual_seed(0)), 0.75)
    assert keep.shape == (64, 16)
    assert masked.sum(1).eq(48).all()
    assert not masked.gather(1, keep).any()
    assert len(masked.unique(dim=0)) == 64
    assert masked.float().mean(0).sub(0.75).abs().max() < 0.25


def test_masked_pixels_never_reach_the_encoder(model: MaskedAutoencoder) -> None:
    flux, noise = batch()
    before = model(flux, noise)
    garbage = flux + 100 * unpatchify(before.masked[..., None].float().expand(-1, -1, 3 * 64), 8)
    assert torch.equal(before.prediction, model(garbage, noise).prediction)


def test_hidden_bands_never_reach_the_encoder_and_are_predicted(model: MaskedAutoencoder) -> None:
    flux, noise = batch()
    hidden = torch.zeros_like(flux, dtype=torch.bool)
    hidden[:, 0] = True
    garbage = flux.clone()
    garbage[:, 0] += 100
    plain, dropped, other = model(flux, noise), model(flux, noise, hidden), model(garbage, noise, hidden)
    assert torch.equal(dropped.prediction, other.prediction)
    assert other.loss > dropped.loss  # the hidden band is in the target
    assert not torch.equal(plain.prediction, dropped.prediction)
    missing = flux.clone()
    missing[:, 0] = torch.nan
    assert torch.equal(model(missing, noise).prediction, dropped.prediction)  # hidden looks exactly like missing


def test_invalid_pixels_do_not_enter_the_loss(model: MaskedAutoencoder) -> None:
    flux, noise = batch()
    flux[:, 1, :, 5:20] = torch.nan
    flux[0] = torch.nan
    output = model(flux, noise)
    prediction = unpatchify(output.prediction, 8)
    counted = unpatchify(output.masked[..., None].expand(-1, -1, 3 * 64), 8) & flux.isfinite()
    expected = (prediction - model.pixels.stretch(flux)[0]).square()[counted].mean()
    torch.testing.assert_close(output.loss, expected)


def test_normalised_target_ignores_invalid_pixels() -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(Model(**{**TINY.__dict__, "normalised_target": True}))
    flux, noise = batch()
    flux[:, 2] = torch.nan
    sentinel = flux.clone()
    sentinel[:, 2] = -1e30
    assert torch.equal(model(flux, noise).loss, model(sentinel, noise).loss)


def test_a_batch_without_data_has_zero_loss_and_finite_gradients(model: MaskedAutoencoder) -> None:
    flux, noise = batch()
    output = model(torch.full_like(flux, torch.nan), noise)
    output.loss.backward()
    assert output.loss == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_fill_patch_learns(model: MaskedAutoencoder) -> None:
    flux, noise = batch()
    flux[:, 0] = torch.nan
    model(flux, noise).loss.backward()
    gradient = model.pixels.fill.grad
    assert gradient is not None
    assert gradient[0].abs().max() > 0
    assert gradient[1:].abs().max() == 0


def test_asinh_is_asinh() -> None:
    x = torch.cat([torch.linspace(-5, 5, 101), torch.logspace(-6, 15, 50), -torch.logspace(-6, 15, 50)])
    torch.testing.assert_close(asinh(x), torch.asinh(x), atol=2e-7, rtol=2e-6)


def test_stretch_goes_both_ways(model: MaskedAutoencoder) -> None:
    model.pixels.calibrate(torch.tensor([1.0, 2.0, 30.0]), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 1.5, 0.7]))
    flux = 100 * torch.randn(2, 3, 32, 32)
    stretched, valid = model.pixels.stretch(flux)
    assert valid.all()
    torch.testing.assert_close(model.pixels.unstretch(stretched), flux, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, -1e30, 3e38])
def test_any_kind_of_no_data_becomes_the_fill(model: MaskedAutoencoder, value: float) -> None:
    model.pixels.fill.data.normal_()
    flux = torch.full((1, 3, 32, 32), value)
    assert torch.equal(model.pixels(flux)[0], model.pixels.fill.repeat(1, 4, 4))
