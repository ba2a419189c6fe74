"""Released checkpoints become models of ours whose outputs are those of the released networks; others are refused."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness import cli, convert
from harness.hub import PretrainedGenerator, PretrainedTokenizer, released
from harness.hub.conversion import converted
from harness.system import plugins
from harness.system.errors import Mistake, Trouble
from models import generators, tokenizers
from tests.conftest import SIDE
from tests.hub.layouts.dit import CLASSES
from tests.hub.layouts.writer import Case, images, latents
from tests.hub.released import CASES
from tests.hub.tokenizers import fresh

CLOSE = 1e-4
TOKENIZERS = [name for name in CASES if hasattr(plugins.load(released.__name__, name.split()[0], ""), "tokenizer")]
GENERATORS = [name for name in CASES if name not in TOKENIZERS]


@cache
def case_of(name: str) -> Case:
    return CASES[name]()


def layout_of(name: str) -> str:
    return name.split()[0]


def written(folder: Path, content: Any, name: str = "weights.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def loaded(name: str, folder: Path) -> PretrainedTokenizer | PretrainedGenerator:
    """The model after the way through the command and back from its folder."""
    words = [str(written(folder, case_of(name).state)), "--from", layout_of(name), "--to", str(folder / "model")]
    side = ["--image-size", str(case_of(name).side)] if name in TOKENIZERS else []
    assert convert.main(words + side) == 0
    kind = PretrainedTokenizer if name in TOKENIZERS else PretrainedGenerator
    return kind.from_pretrained(folder / "model")


def same(found: Tensor, expected: Tensor) -> bool:
    """Whether two outputs are equal up to rounding; constant ones would say nothing."""
    assert expected.std() > 0.05
    return found.shape == expected.shape and bool((found - expected).abs().max() <= CLOSE)


def test_every_layout_has_a_case():
    assert {layout_of(name) for name in CASES} == set(plugins.names(released.__name__))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_has_the_outputs_of_the_released_one(name, tmp_path):
    model, case = loaded(name, tmp_path), case_of(name)
    x = images(side=case.side)
    mean, log_variance = case.encode(x)
    posterior = model.posterior(x)
    assert same(posterior.mean, mean)
    assert (posterior.log_variance is None) == (log_variance is None)
    assert log_variance is None or same(posterior.log_variance, log_variance)
    z = latents(2, *model.config.latents[:2])
    assert same(model.tokenizer.decode(z), case.decode(z))
    counted = tokenizers.parameters(model.config.tokenizer, model.config.image_size)
    assert counted == sum(parameter.numel() for parameter in model.parameters())


def test_a_tokenizer_of_ours_goes_to_the_released_layout_and_back(tmp_path):
    size = {"width": 64, "heads": 1}  # heads of the width that conversion supposes
    fields = {f"tokenizer__{half}__{name}": value for half in ("encoder", "decoder") for name, value in size.items()}
    model = fresh("softvq", **fields)
    model.save_pretrained(tmp_path / "ours")
    script = Path(__file__).parents[2] / "docs/examples/outside/released_layout.py"
    words = [str(tmp_path / "ours"), str(tmp_path / "released.safetensors"), str(tmp_path)]
    subprocess.run([sys.executable, str(script), *words], check=True, timeout=120)
    words = [words[1], "--from", "softvq", "--image-size", str(SIDE), "--to", str(tmp_path / "back")]
    assert convert.main(words) == 0
    back, x = PretrainedTokenizer.from_pretrained(tmp_path / "back"), images(side=SIDE)
    assert same(back.encode(x), model.encode(x))
    assert (back.reconstruct(x) - model.reconstruct(x)).abs().max() <= CLOSE


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_has_the_velocities_of_the_released_one(name, tmp_path):
    model = loaded(name, tmp_path)
    config = model.config
    x, t, y = latents(3, *config.latents[:2]), torch.tensor([0.05, 0.5, 0.95]), torch.tensor([0, 3, CLASSES])
    assert same(model(x, t, y), case_of(name).velocity(x, t, y))
    assert config.classes == CLASSES
    assert not any(parameter.requires_grad for parameter in model.parameters())
    counted = generators.parameters(config.name, config.size, config.read, config.classes, 0)
    assert counted == pytest.approx(sum(parameter.numel() for parameter in model.parameters()), rel=0.02)


@pytest.mark.parametrize("name", ["kl", "sit"])
def test_the_folder_says_where_the_weights_come_from(name, tmp_path):
    loaded(name, tmp_path)
    origin = json.dumps(json.loads((tmp_path / "model/config.json").read_text())["origin"])
    assert re.search(rf"converted from weights\.pt \(SHA-256 [0-9a-f]{{64}}\), layout {name}", origin)


def test_the_card_says_nothing_of_scales_and_runs(tmp_path):
    loaded("softvq", tmp_path)
    card = (tmp_path / "model/README.md").read_text()
    assert "\n# softvq\n" in card
    assert "converted from weights.pt" in card
    assert not re.search(r"scale|## Runs|2603\.29634 \|", card)


def test_the_card_claims_nothing_that_a_file_does_not_say(tmp_path):
    loaded("kl", tmp_path)
    card = (tmp_path / "model/README.md").read_text()
    assert "| bottleneck | Gaussian |" in card
    assert "The weights were trained elsewhere: their licence" in card
    assert "license: unknown" in card and "apache" not in card


# What files hold


def forms() -> dict[str, Callable[[dict[str, Tensor]], Any]]:
    def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        return {f"{prefix}{name}": tensor for name, tensor in state.items()}

    def other(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor + 1 for name, tensor in state.items()}

    settings = argparse.Namespace(model="SiT-XL/2")
    return {
        "alone": lambda s: s,
        "in half precision": lambda s: {name: tensor.double() for name, tensor in s.items()},
        "in parallel": lambda s: prefixed(s, "module."),
        "compiled": lambda s: prefixed(s, "module._orig_mod."),
        "compiled inside": lambda s: {n.replace("encoder.", "encoder._orig_mod."): t for n, t in s.items()},
        "twice": lambda s: s | prefixed(s, "module."),
        "moving average": lambda s: {"model": other(s), "ema": s, "opt": {"state": {}}, "args": settings},
        "no moving average yet": lambda s: {"ema": {}, "model": s},
        "moving average of l-DeTok": lambda s: {"model": other(s), "model_ema": s, "epoch": 7},
        "lightning": lambda s: {"state_dict": s, "global_step": 9},
        "in a part of a part": lambda s: {"model": {"state_dict": prefixed(s, "module.")}},
    }


@pytest.mark.parametrize("form", forms())
def test_the_weights_are_seen_in_every_form_of_a_checkpoint(form, tmp_path):
    state = case_of("kl").state
    path = written(tmp_path, forms()[form](state))
    assert converted(path, "kl").weights_sha256 == converted(written(tmp_path, state, "alone.pt"), "kl").weights_sha256


@pytest.mark.parametrize("name", ["model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_the_hub_is_read(name, tmp_path):
    state = {key: tensor.contiguous() for key, tensor in case_of("kl").state.items()}
    (tmp_path / "config.json").write_text("{}")
    save_file(state, tmp_path / name) if name.endswith(".safetensors") else written(tmp_path, state, name)
    assert converted(tmp_path, "kl").weights_sha256 == converted(tmp_path / name, "kl").weights_sha256


class Code:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def two_files(folder: Path, state: dict[str, Tensor]) -> Path:
    written(folder, state, "a.pt")
    return written(folder, state, "b.pt").parent


def endless(folder: Path, state: dict[str, Tensor]) -> Path:
    """A checkpoint whose part is itself."""
    content: dict[str, Any] = {}
    content["model"] = content
    return written(folder, content)


def pointer(path: Path) -> Path:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    return path


def holding(content: bytes, suffix: str, folder: Path, state: dict[str, Tensor]) -> Path:
    """A file of this content."""
    (folder / f"weights.{suffix}").write_bytes(content)
    return folder / f"weights.{suffix}"


def zipped() -> bytes:
    """A zip archive without tensors."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", 99 * "notes ")
    return file.getvalue()


ANOTHER = r"(safetensors|torch\.save) did not write it, or it is damaged or cut off$"
NO_WEIGHTS = {
    "text": (b"hello world, this is text", ANOTHER),
    "nothing": (b"", "it is empty$"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(60), ANOTHER),
    "JSON": (b'{"width": 7}', ANOTHER),
    "a zip": (zipped(), ANOTHER),
    "a pickled list": (pickle.dumps([1, 2]), ANOTHER),
    "a pickled int": (pickle.dumps(3), ANOTHER),
    "pickled ints": (pickle.dumps({"a": 1}), ANOTHER),
    "a broken header": (struct.pack("<Q", 10) + b"{not JSON}" + bytes(40), ANOTHER),
    "a header that is too long": (struct.pack("<Q", 10**12) + b"{}", ANOTHER),
}
BROKEN: dict[str, tuple[Callable[[Path, dict[str, Tensor]], Path], str]] = {
    "absent": (lambda f, s: f / "absent.pt", "neither a file nor a folder"),
    "empty folder": (lambda f, s: f, "has to have one file of weights .*, and has: none"),
    "two files": (two_files, "has: a.pt, b.pt"),
    "code": (
        lambda f, s: written(f, s | {"code": Code()}),
        r"is no checkpoint: it is damaged or holds more than tensors \(it names \S+ getattr",
    ),
    "pointer": (lambda f, s: pointer(f / "weights.pt"), "is no checkpoint: it is a pointer of Git LFS"),
    "pointer to safetensors": (lambda f, s: pointer(f / "w.safetensors"), "is no checkpoint: it is a pointer of Git"),
    "an int": (lambda f, s: written(f, 3), "does not hold named tensors"),
    "ints": (lambda f, s: written(f, {"a": 1, "b": 2}), "does not hold named tensors alone, but also a, b"),
    "no tensors": (lambda f, s: written(f, [1, 2]), "does not hold named tensors"),
    "nothing": (lambda f, s: written(f, {}), "does not hold named tensors"),
    "numbers as names": (lambda f, s: written(f, {0: torch.zeros(2)}), "tensors alone, but also 0"),
    "endless": (endless, "does not hold named tensors alone, but also model"),
    "settings": (lambda f, s: written(f, s | {"width": 7}), "does not hold named tensors alone, but also width"),
    **{
        f"{kind} as {suffix}": (partial(holding, content, suffix), f"weights.{suffix} is no checkpoint: {why}")
        for kind, (content, why) in NO_WEIGHTS.items()
        for suffix in ("pt", "txt", "safetensors")
    },
    "differing": (
        lambda f, s: written(f, s | {"module.quant_conv.bias": s["quant_conv.bias"] + 1}),
        "two different tensors called quant_conv.bias",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_without_weights_is_one_clear_line(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make, expected = BROKEN[case]
    path = make(tmp_path, case_of("kl").state)
    before = sorted(tmp_path.iterdir())
    assert cli.code_of(convert.main, [str(path), "--from", "kl", "--to", "new/model"]) == 2
    said = capsys.readouterr().err
    assert re.search(expected, said, re.MULTILINE) and said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


# Tensors that do not fit


def changed(state: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    """The state with other tensors; None takes one out."""
    return {name: tensor for name, tensor in (state | changes).items() if tensor is not None}


def last_of(name: str) -> str:
    """A tensor that every case of a layout reads, and whose shape tells no size."""
    return next(
        key
        for key in reversed(case_of(name).state)
        if key.endswith(("fc1.bias", "w3.bias", "c_proj.bias", "conv2.bias"))
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("change", ["missing", "renamed", "superfluous", "shape", "NaN", "int8"])
def test_one_tensor_that_does_not_fit_is_one_clear_line(change, name, tmp_path):
    state, key = case_of(name).state, last_of(name)
    read = last_of(layout_of(name))  # its name in the layout
    shape, inside = tuple(state[key].shape), "first_stage_model." if name == "sd_vae in a model" else ""
    longer, another = torch.zeros(shape[0] + 1), f"{inside}quite.another"
    state, expected = {
        "missing": (changed(state, **{key: None}), f"missing: {read}"),
        "renamed": (
            changed(state, **{key: None, f"{key}s": state[key]}),
            f"missing: {read} (nearest: {key}s); superfluous: {key}s",
        ),
        "superfluous": (state | {another: longer}, f"superfluous: {another}"),
        "shape": (state | {key: longer}, f"wrong: {key} is ({shape[0] + 1},), not {shape}"),
        "int8": (state | {key: longer[1:].to(torch.int8)}, f"wrong: {key} holds int8, no real numbers"),
        "NaN": (state | {key: longer[1:] * torch.nan}, f"wrong: {key} has values that are NaN or infinite"),
    }[change]
    path = written(tmp_path, state)
    with pytest.raises(Mistake) as error:
        converted(path, layout_of(name))
    assert str(error.value).startswith(f"{path} does not fit the layout {layout_of(name)}: {expected}")
    assert "\n" not in str(error.value)


SIZES = {
    "kl": ["encoder.latent_tokens", "encoder.model.pos_embed", "post_quant_conv.weight", "decoder.mask_token"],
    "softvq": ["quantize.embedding"],
    "titok": ["latent_tokens", "decoder.decoder_embed.weight", "encoder.positional_embedding"],
    "titok in two stages": [
        "pixel_quantize.embedding.weight",
        "pixel_decoder.mid.0.conv1.weight",
        "pixel_decoder.up.1.block.0.conv1.weight",
        "pixel_decoder.up.0.block.0.nin_shortcut.weight",
        "pixel_decoder.up.2.upsample_conv.bias",
        "decoder.ffn.0.weight",
    ],
    "detok": ["encoder.positional_embedding", "decoder.decoder_embed.weight"],
    "va_vae": ["encoder.conv_in.weight", "post_quant_conv.weight"],
    "sit": ["pos_embed", "y_embedder.embedding_table.weight", "final_layer.linear.weight"],
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in SIZES.items() for key in keys])
@pytest.mark.parametrize("value", [None, torch.zeros(3), torch.zeros(1, 7, 9), torch.zeros(5, 5)])
def test_a_tensor_that_tells_sizes_is_checked_too(name, key, value, tmp_path):
    path = written(tmp_path, changed(case_of(name).state, **{key: value}))
    with pytest.raises(Mistake, match=f"weights.pt does not fit the layout {layout_of(name)}: ") as error:
        converted(path, layout_of(name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["softvq", "sit", "va_vae", "titok"])
def test_a_checkpoint_of_another_layout_names_what_is_missing(name, tmp_path):
    with pytest.raises(Mistake, match=r"does not fit the layout detok: missing: encoder\.positional_embedding"):
        converted(written(tmp_path, case_of("kl").state), "detok")


def test_a_long_list_is_cut(tmp_path):
    state = {name: tensor for name, tensor in case_of("kl").state.items() if ".mlp." not in name}
    with pytest.raises(Mistake, match=r"missing: (\S+, ){2}\S+ and 13 more$"):
        converted(written(tmp_path, state), "kl")


def test_the_first_of_two_stages_is_refused_for_it_makes_no_pixels(tmp_path):
    state = {key: t for key, t in case_of("titok in two stages").state.items() if not key.startswith("pixel_")}
    with pytest.raises(Mistake, match=r"missing: pixel_quantize\.embedding\.weight"):
        converted(written(tmp_path, state), "titok")


def test_the_decoder_of_proxy_codes_has_to_make_the_pixels_of_a_patch(tmp_path):
    state = case_of("titok in two stages").state
    narrower = {"encoder.patch_embed.weight": state["encoder.patch_embed.weight"][..., :2, :2]}
    with pytest.raises(Mistake, match="a proxy code makes 4 px on a side, and a patch has 2 px"):
        converted(written(tmp_path, state | narrower), "titok")


def test_rotary_angles_that_are_not_ours_are_refused(tmp_path):
    state = case_of("lightningdit").state
    with pytest.raises(Mistake, match=r"wrong: feat_rope\.freqs_cos has other values$"):
        converted(written(tmp_path, state | {"feat_rope.freqs_cos": -state["feat_rope.freqs_cos"]}), "lightningdit")


def test_two_tensors_of_one_place_are_refused(tmp_path):
    state, key = case_of("sd_vae in diffusers").state, "encoder.mid_block.attentions.0.to_q.bias"
    path = written(tmp_path, state | {key.replace("to_q", "query"): state[key] + 1})
    with pytest.raises(Mistake, match=r"to_q\.bias and \S+query\.bias are both encoder\.mid\.attn_1\.q\.bias$"):
        converted(path, "sd_vae")


# The command


def test_the_command_tells_what_it_wrote_and_keeps_what_is_there(tmp_path, capsys):
    words = [str(written(tmp_path, case_of("sit").state)), "--from", "sit", "--to", str(tmp_path / "deep/model")]
    assert cli.code_of(convert.main, words) == 0
    out = capsys.readouterr().out
    assert "config.json" in out and "model.safetensors" in out
    before = {path: path.read_bytes() for path in (tmp_path / "deep/model").iterdir()}
    assert cli.code_of(convert.main, words) == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "deep/model").iterdir()} == before


def test_the_name_of_a_file_breaks_no_card(tmp_path):
    path = written(tmp_path, case_of("kl").state, "a|b <img src=x>\n`.pt")
    assert convert.main([str(path), "--from", "kl", "--to", str(tmp_path / "model")]) == 0
    card = (tmp_path / "model/README.md").read_text()
    assert "| trained | elsewhere; converted from a\\|b &lt;img src=x>\\n`.pt (SHA-256" in card and "<img" not in card


@pytest.mark.parametrize("name", ["kl", "sit"])
def test_a_full_disk_is_one_line_and_leaves_nothing(name, tmp_path):
    path = written(tmp_path, case_of(name).state)
    code = (
        "import resource, sys; from harness import cli, convert; import harness.hub.conversion;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); cli.run(convert.main)"
    )
    words = [sys.executable, "-c", code, str(path), "--from", name, "--to", str(tmp_path / "model")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "model is not written: " in done.stderr and "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_may_have_a_hyphen(tmp_path):
    path = written(tmp_path, case_of("va_vae").state)
    assert convert.main([str(path), "--from", "va-vae", "--to", str(tmp_path / "model")]) == 0
    assert PretrainedTokenizer.from_pretrained(tmp_path / "model").config.image_size == 256


MISTAKES = {
    "layout": (["--from", "sitt"], "unknown layout 'sitt'. Did you mean 'sit'"),
    "image size": (["--from", "kl", "--image-size", "17"], "--image-size 17: .* is for images of 16 px"),
    "image size of a generator": (["--from", "sit", "--image-size", "64"], "sit is a layout of generators"),
    "image size that does not fit": (["--from", "va_vae", "--image-size", "251"], "weights.pt is for multiples of "),
    "image size that is too small": (["--from", "va_vae", "--image-size", "1"], "weights.pt is for multiples of "),
    "image size that is too large": (["--from", "va_vae", "--image-size", f"{10**30}"], "is for multiples of .* up to"),
    "image size that is none": (["--from", "kl", "--image-size", "0"], "at least 1"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_wrong_option_is_one_clear_line(case, tmp_path, capsys):
    words, expected = MISTAKES[case]
    path = written(tmp_path, case_of(words[1] if words[1] in CASES else "kl").state)
    assert cli.code_of(convert.main, [str(path), *words, "--to", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert re.search(expected, said) and said.count("\n") == 1
    assert not (tmp_path / "model").exists()


# Folders of generators

CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "field": (lambda c: c.update(colour="red"), "colour: unknown field"),
    "name": (lambda c: c.update(name="mar"), "name: 'mar' is none of lightningdit, sit"),
    "grid": (lambda c: c.update(side=3), "64 tokens are no grid with a side of 3"),
    "no grid": (lambda c: c.update(side=None), "only latents on a grid have patches"),
    "option": (lambda c: c.update(qk_norm=True), "sit has no qk_norm"),
    "wide": (lambda c: c["size"].update(width=4 * 10**6), "asks for "),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_configuration_of_a_generator_is_checked(change, tmp_path):
    loaded("sit", tmp_path)
    path = tmp_path / "model/config.json"
    content = json.loads(path.read_text())
    make, expected = CHANGES[change]
    make(content)
    path.write_text(json.dumps(content))
    with pytest.raises(Mistake, match=re.escape(expected)):
        PretrainedGenerator.from_pretrained(tmp_path / "model")


def test_damaged_folders_of_generators_are_refused(tmp_path):
    loaded("sit", tmp_path)
    weights = tmp_path / "model/model.safetensors"
    state = load_file(weights)
    save_file({name: tensor for name, tensor in state.items() if name != "positions"}, weights)
    with pytest.raises(Trouble, match=r"does not fit its config\.json"):
        PretrainedGenerator.from_pretrained(tmp_path / "model")
    save_file({name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()}, weights)
    with pytest.raises(Trouble, match="NaN or infinite"):
        PretrainedGenerator.from_pretrained(tmp_path / "model")
    for name, content in (("config.json", "{"), ("config.json", "[]")):
        (tmp_path / "model" / name).write_text(content)
        with pytest.raises(Mistake):
            PretrainedGenerator.from_pretrained(tmp_path / "model")
    weights.unlink()
    with pytest.raises(Mistake, match=r"it has no model\.safetensors"):
        PretrainedGenerator.from_pretrained(tmp_path / "model")
