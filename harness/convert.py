"""`python -m harness.convert CHECKPOINT --from NAME --to FOLDER`: makes a released checkpoint a pretrained model."""

from __future__ import annotations

from collections.abc import Sequence

from harness import cli
from harness.hub import folders
from harness.system import paths, plugins
from harness.system.errors import Mistake


def main(arguments: Sequence[str]) -> int:
    parser = cli.parser("convert")
    parser.add_argument(
        "checkpoint",
        type=paths.path,
        metavar="CHECKPOINT",
        help="a file (.pt, .pth, .ckpt, .bin, .safetensors), or a folder that has one; no code in it is run",
    )
    layouts = plugins.names("harness.hub.released")
    layout = parser.add_argument(
        "--from", dest="layout", required=True, metavar="NAME", help=f"its layout: {', '.join(layouts)}"
    )
    cli.complete(layout, lambda: layouts)
    parser.add_argument("--to", required=True, type=paths.path, metavar="FOLDER", help="folder to write, new or empty")
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="side of the images, for convolutional tokenizers, which work at any (default: 256)",
    )
    options = parser.parse_args(arguments)
    if options.image_size is not None and options.image_size < 1:
        raise Mistake(f"--image-size {options.image_size}: at least 1")
    name = options.layout.replace("-", "_")
    out = options.to.resolve()
    folders.require_new(out, f"--to {options.to}")

    from harness.hub.conversion import converted

    model = converted(options.checkpoint, name, options.image_size)
    paths.make_folders(out.parent)
    folders.write(model, out)
    print(f"{options.checkpoint}, {name}:")
    folders.show(out, options.to)
    return 0


if __name__ == "__main__":
    cli.run(main)
