"""Finished tokenizers as pretrained models: a folder, or a repository of the Hugging Face Hub, that needs no store.

config.json         `PretrainedConfig`: how to rebuild the tokenizer, the statistics of its latents, its origin
model.safetensors   the weights
README.md           the model card, made from config.json and the weights
reconstructions.png  validation images and their reconstructions, if the data set states its licence
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError
from torch import Tensor, nn

from harness.data.splits import open_split
from harness.experiments.scales import scale
from harness.hub import licenses
from harness.hub.card import CARD, averaged, bottleneck, number, protocols, results, warning
from harness.hub.config import PretrainedConfig, checked, require_sizes
from harness.hub.origin import origin_of
from harness.hub.pictures import PICTURE, SHOWN, draw
from harness.latents.statistics import LatentStatistics
from harness.networks import weights
from harness.planning.task import experiment_of
from harness.store.runs import Run, Store
from harness.system.errors import Mistake, Trouble
from models import tokenizers
from models.autoencoders.posterior import Posterior


class PretrainedTokenizer(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="tokenizer-harness",
    pipeline_tag="image-to-image",
    tags=["image-tokenizer", "1d-tokenizer", "autoencoder"],
    paper_url="https://arxiv.org/abs/2603.29634",
    model_card_template=CARD.read_text(encoding="utf-8"),
):
    """A trained tokenizer: square images (B, 3, S, S) in [-1, 1] <-> latents (B, L, Z).

    It has no dropout and is in evaluation mode. Its weights are frozen; gradients reach images and latents unless the
    caller disables them. `save_pretrained(DIR)` and `push_to_hub(OWNER/NAME)` write all three files.
    """

    picture: bytes | None = None  # the content of reconstructions.png

    def __init__(self, config: PretrainedConfig | Mapping[str, Any]):
        super().__init__()
        self.config = self._hub_mixin_config = checked(PretrainedConfig, config)
        self.tokenizer = tokenizers.network(self.config.tokenizer, self.config.image_size)
        self.requires_grad_(False).eval()

    @classmethod
    def of_run(cls, store: Store, run: Run, license: str = licenses.DEFAULT) -> PretrainedTokenizer:
        """The tokenizer that `run` of the stage tokenizer or finetuning trained; raises `Damaged`.

        Its config holds all numbers of the store that were measured with exactly these weights.
        """
        experiment = experiment_of(run)
        if experiment.tokenizer.outside.on:
            raise Mistake(
                f"the tokenizer of this run, {run.key}, is from outside: its own file is what can be published"
            )
        origin, statistics = origin_of(store, run)
        mean, std = (tuple(part.tolist()) for part in statistics) if statistics else (None, None)
        image_size, mirrored = experiment.data.image_size, experiment.data.flip
        config = PretrainedConfig(image_size, experiment.tokenizer, origin, mean, std, license, mirrored)
        pretrained = cls(config)
        pretrained.tokenizer.load_state_dict(weights.load_tokenizer(experiment, run).state_dict())
        if origin.attribution:
            val = open_split(store.lineage(run)["data"].folder, "val")
            pretrained.picture = draw(pretrained, np.asarray(val.images[:SHOWN]))
        return pretrained

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> PretrainedTokenizer:
        """The tokenizer in a folder or, if there is no such folder, in the repository OWNER/NAME of the Hub.

        `options` are the mixin's: revision, token, cache_dir, force_download, local_files_only, map_location. Raises
        `Mistake` if there is no tokenizer or its config.json is wrong, `Trouble` if its weights are damaged, or if the
        Hub cannot be reached and no earlier download is in the cache.
        """
        name = str(pretrained_model_name_or_path)
        if os.path.isdir(name):  # the test of the mixin
            for file in (CONFIG_NAME, SAFETENSORS_SINGLE_FILE):
                if not (Path(name) / file).is_file():
                    raise Mistake(f"{name} is no pretrained tokenizer: it has no {file}")
        else:
            require_hub_id(name)
            options = _cached_if_offline(name, options)
        try:
            pretrained: PretrainedTokenizer = super().from_pretrained(name, **options)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise Mistake(f"{CONFIG_NAME} of {name} is not JSON: {error}") from None
        except RecursionError:
            raise Mistake(f"{CONFIG_NAME} of {name} is nested too deep") from None
        except AttributeError:
            raise Mistake(f"{CONFIG_NAME} of {name} is no JSON object") from None
        except LocalEntryNotFoundError:
            raise Trouble(f"{name} is neither a folder nor cached, and the Hub cannot be reached") from None
        except HfHubHTTPError as error:
            raise _absent(name, error) from None
        return pretrained

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        config: Mapping[str, Any] | None = None,
        map_location: str = "cpu",
        **download: Any,
    ) -> PretrainedTokenizer:
        """Called by the mixin. Every weight has to be in the file, and nothing is unpickled."""
        if config is None:
            raise Mistake(f"{model_id} of the Hub is no pretrained tokenizer: it has no {CONFIG_NAME}")
        known = checked(PretrainedConfig, config)
        local = Path(model_id) / SAFETENSORS_SINGLE_FILE
        path = str(local) if local.exists() else hf_hub_download(model_id, SAFETENSORS_SINGLE_FILE, **download)
        require_sizes(tokenizers.parameters(known.tokenizer, known.image_size), path)
        pretrained = cls(known)
        try:
            loaded = cls._load_as_safetensor(pretrained, path, map_location, strict=True)
            if not all(values.isfinite().all() for values in loaded.state_dict().values()):
                raise Trouble(f"{path} has weights that are NaN or infinite")
            shown = Path(model_id) / PICTURE
            loaded.picture = shown.read_bytes() if shown.is_file() else None
            return loaded
        except (SafetensorError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise Trouble(f"{path} is damaged or does not fit its {CONFIG_NAME}: {reason}") from None

    def _save_pretrained(self, save_directory: Path) -> None:
        """Called by the mixin."""
        super()._save_pretrained(save_directory)
        if self.picture is not None:
            (save_directory / PICTURE).write_bytes(self.picture)

    def generate_model_card(self, *args: Any, **values: Any) -> ModelCard:
        """The model card; `values` override the default values of the template."""
        tokenizer, origin = self.config.tokenizer, self.config.origin
        defaults = {
            "config": self.config,
            "tokenizer": tokenizer,
            "warning": warning(origin),
            "bottleneck": bottleneck(self.config),
            "averaged": averaged(self.config),
            "origin": origin,
            "parameters": tokenizers.parameters(tokenizer, self.config.image_size),
            "weights_sha256": self.weights_sha256,
            "scale_about": scale(origin.scale).about if origin.scale else "",
            "numbers": [(record, number(record)) for record in origin.records],
            "protocols": protocols(origin.records),
            "latents": list(zip(self.config.latent_mean or (), self.config.latent_std or (), strict=True)),
            "picture": PICTURE if self.picture is not None else "",
        }
        card = super().generate_model_card(*args, **defaults | values)
        card.data["license"] = self.config.license
        if origin.records:
            card.data["model_name"], card.data["eval_results"] = origin.variant, results(origin)
        return card

    @property
    def statistics(self) -> LatentStatistics | None:
        """The statistics that normalise the latents for a generator; None if they were not measured."""
        mean, std = self.config.latent_mean, self.config.latent_std
        return None if mean is None or std is None else LatentStatistics(torch.tensor(mean), torch.tensor(std))

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of names, shapes and values of the weights: the same for a run and its published copy."""
        digest = hashlib.sha256()
        for name, values in sorted(self.tokenizer.state_dict().items()):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
            digest.update(values.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def posterior(self, x: Tensor) -> Posterior:
        """q(z | x) of images x (B, 3, S, S) in [-1, 1]; raises ValueError for other input."""
        side = self.config.image_size
        if not x.is_floating_point() or x.ndim != 4 or x.shape[1:] != (3, side, side) or not len(x):
            raise ValueError(f"images are {_shown(x)}: floating point (B, 3, {side}, {side}) is needed")
        if not x.abs().max() <= 1:  # also for NaN
            low, high = x.min().item(), x.max().item()
            raise ValueError(f"images span [{low:.4g}, {high:.4g}]: values in [-1, 1] are needed")
        posterior: Posterior = self.tokenizer.encode(x)
        return posterior

    def encode(self, x: Tensor, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Latents z (B, L, Z), float32, of images x (B, 3, S, S) in [-1, 1]; raises ValueError for other input.

        The latents are the posterior's mode or, with `sample`, a sample by `generator`. A deterministic bottleneck has
        only the mode.
        """
        posterior = self.posterior(x)
        if not sample:
            return posterior.mean
        device = generator.device if generator else posterior.mean.device
        noise = torch.randn(posterior.mean.shape, generator=generator, device=device)
        return posterior.sample(noise.to(posterior.mean.device))

    def decode(self, z: Tensor) -> Tensor:
        """Images x (B, 3, S, S), float32, clipped to [-1, 1], of latents z (B, L, Z); raises ValueError for others."""
        tokens, channels, _ = self.config.latents
        if not z.is_floating_point() or z.ndim != 3 or z.shape[1:] != (tokens, channels) or not len(z):
            raise ValueError(f"latents are {_shown(z)}: floating point (B, {tokens}, {channels}) is needed")
        if not z.isfinite().all():
            raise ValueError("latents have values that are NaN or infinite")
        return self.tokenizer.decode(z).clamp(-1, 1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encodes images x (B, 3, S, S) in [-1, 1] and decodes the posterior's mode; raises ValueError for others."""
        return self.decode(self.encode(x))


def require_hub_id(name: str) -> None:
    """Raises `Mistake` if `name` does not have the form OWNER/NAME."""
    try:
        validate_repo_id(name)
        named = "/" in name
    except HFValidationError:
        named = False
    if not named:
        raise Mistake(f"{name} is neither a folder nor a repository of the Hub, which is written OWNER/NAME")


def _cached_if_offline(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """`options`, restricted to cached files if the Hub does not answer.

    It makes one request without retries: the mixin alone would wait half a minute for every file.
    """
    if options.get("local_files_only"):
        return options
    try:
        url = hf_hub_url(name, CONFIG_NAME, revision=options.get("revision"))
        get_hf_file_metadata(url, token=options.get("token"))
    except HfHubHTTPError as error:
        raise _absent(name, error) from None
    except Exception:  # no network or HF_HUB_OFFLINE: every HTTP library raises its own error
        return options | {"local_files_only": True}
    return options


def _absent(name: str, error: HfHubHTTPError) -> Mistake:
    status = f" (HTTP {error.response.status_code})" if error.response is not None else ""
    return Mistake(f"{name} is no folder, and the Hub has no pretrained tokenizer of that name for you{status}")


def _shown(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
