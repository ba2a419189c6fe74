"""Autoencoders of diffusers as tokenizers from outside, on random weights; only if diffusers is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from harness import benchmark
from harness.hub.outside import Diffusers
from harness.networks import outside
from tests.conftest import SIDE, images
from tests.hub.tokenizers import fresh

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None,
        reason='diffusers is not installed: pip install -e ".[diffusers]"',
    ),
    pytest.mark.filterwarnings("ignore"),  # its own
]
MINE = Path(__file__).parents[1] / "networks/mine.py"


def _kl(diffusers: Any) -> Any:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    return diffusers.AutoencoderKL(block_out_channels=(8, 8, 8), latent_channels=4, norm_num_groups=4, **blocks)


def _dc(diffusers: Any) -> Any:
    blocks = ("ResBlock",) * 3
    return diffusers.AutoencoderDC(
        latent_channels=4,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
    )


def _vq(diffusers: Any) -> Any:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return diffusers.VQModel(
        block_out_channels=(8, 8), latent_channels=3, num_vq_embeddings=16, norm_num_groups=4, **blocks
    )


KINDS = {"AutoencoderKL": (_kl, (64, 4, 8)), "AutoencoderDC": (_dc, (64, 4, 8)), "VQModel": (_vq, (256, 3, 16))}


def saved(kind: str, folder: Path) -> Any:
    """A small network of this kind, written into a folder as diffusers does."""
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = KINDS[kind][0](diffusers).eval()
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_an_autoencoder_of_diffusers_is_a_tokenizer(kind, tmp_path):
    network = saved(kind, tmp_path / "saved")
    source = f"harness.hub.outside:Diffusers={tmp_path / 'saved'}"
    found = outside.seen(source, SIDE)
    assert found[:3] == KINDS[kind][1]
    assert found.weights == sum(p.numel() for p in network.parameters())
    adapter, x = Diffusers(str(tmp_path / "saved")), images()
    with torch.no_grad():
        z = adapter.encode(x)
        coded = network.encode(x)
        expected = {
            "AutoencoderKL": lambda: coded.latent_dist.mean,
            "AutoencoderDC": lambda: coded.latent,
            "VQModel": lambda: coded.latents,
        }[kind]()
        assert torch.equal(z, expected)
        assert torch.equal(adapter.decode(z), network.decode(z).sample)


def test_its_key_is_that_of_its_files(tmp_path):
    saved("AutoencoderKL", tmp_path / "one")
    network = saved("AutoencoderKL", tmp_path / "two")
    with torch.no_grad():
        next(network.parameters()).add_(1)
    network.save_pretrained(tmp_path / "three")
    one, two, three = (
        outside.load(f"harness.hub.outside:Diffusers={tmp_path / name}").sha256 for name in ("one", "two", "three")
    )
    assert one == two != three


@pytest.mark.slow
def test_a_league_of_diffusers_a_users_file_and_ours(tmp_path, capsys):
    saved("AutoencoderKL", tmp_path / "kl")
    fresh("titok").save_pretrained(tmp_path / "titok")
    words = [f"harness.hub.outside:Diffusers={tmp_path / 'kl'}", f"{MINE}:Pooled", str(tmp_path / "titok")]
    words += ["--rows", "kl,mine.py:Pooled,titok", "--scale", "smoke", "--quiet"]
    assert benchmark.main([*words, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    (csv,) = (tmp_path / "out").glob("*-league.csv")
    by_row = pd.read_csv(csv).set_index("tokenizer")
    assert set(by_row.index) == {"kl", "mine.py:Pooled", "titok"}
    assert by_row.loc["kl", "latents"] == "8 x 8 x 4"
    for head in ("rFD ↓", "PSNR (dB) ↑", "gFD ↓"):
        assert all(float(str(value).split()[0]) > 0 for value in by_row[head]), head
    capsys.readouterr()
