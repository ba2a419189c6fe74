"""How hard the data set is: linear probes of pixels and of the teacher, and how well masks find objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.evaluation import protocol_texts, records
from harness.evaluation.probes import fit
from harness.experiments.experiment import Experiment
from harness.networks import flops, teachers
from harness.planning.stage import Outcome, Size, Work
from harness.store.records import Record
from harness.training.teacher import needed, online, patches

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from sklearn.pipeline import Pipeline

    from harness.data.splits import Split

    Extractor = Callable[[Split, int], tuple[np.ndarray, np.ndarray]]

revision = 2
about = "linear probes of pixels and of the teacher, precision of semantic masks"
COMPONENTS = 256  # principal components of the pixels
LARGEST = 32  # px: the approximate side of the images that the probe of pixels reads
BATCH = 64


def inputs(experiment: Experiment) -> tuple[str, ...]:
    return ("data", *needed(experiment))


def size(experiment: Experiment) -> Size:
    data, is_online = experiment.data, online(experiment) is not None
    seen = 2 * data.val_images + is_online * min(data.train_images, experiment.evaluation.probe_images)
    work = seen * flops.of_teacher(experiment)
    return Size(data.train_images + 2 * data.val_images, 10_000, work)


def config(experiment: Experiment) -> dict[str, Any]:
    name = online(experiment)
    teacher = {"teacher": name, "teacher_code": teachers.code(name), "patches": patches(experiment)} if name else {}
    return {"probe_images": experiment.evaluation.probe_images, **teacher}


def run(work: Work) -> Outcome:
    import numpy as np
    from sklearn.decomposition import PCA

    from harness.data.splits import open_split, validation_splits

    experiment, folder = work.experiment, work.inputs["data"].checked_folder()
    train = open_split(folder, "train")
    n = min(len(train), experiment.evaluation.probe_images)
    labels = train.labels[:n]
    extract = _extractor(work)
    features, scores = _train_features(work, train, n, extract)
    components = PCA(min(COMPONENTS, n - 1), random_state=0).fit(_pixels(train, n))
    of_pixels, of_teacher = (
        _standardised(components.transform(_pixels(train, n)), labels),
        _standardised(features, labels),
    )
    majority = np.bincount(labels).argmax()
    smaller = f" of means over {_square(train)} x {_square(train)} pixels" if _square(train) > 1 else ""
    found, data = [], experiment.data
    seen_images = f"data {protocol_texts.data_set(data)} at {data.image_size} px, content "
    seen_images += str(work.inputs["data"].fact("content"))

    def add(metric: str, value: float, split: str, images: int, how: str) -> None:
        protocol = f"{how}; {seen_images}"
        name = records.protocol_id(records.PROTOCOL, metric, protocol, split, images)
        found.append(Record(metric, value, images, 0, split, protocol, protocol_id=name))

    fitted = f"logistic regression on standardised features of {n} train images"
    names = validation_splits(folder)
    with work.progress(len(names), "split") as bar:
        for name in names:
            work.check_stop()
            val = open_split(folder, name)
            add("majority", 100 * float((val.labels == majority).mean()), name, len(val), "the commonest train class")
            score = 100 * of_pixels.score(components.transform(_pixels(val, len(val))), val.labels)
            seen = f"{components.n_components_} principal components{smaller}, {fitted}"
            add("probe_pixels", score, name, len(val), seen)
            score = 100 * of_teacher.score(extract(val, len(val))[0], val.labels)
            add("probe_teacher", score, name, len(val), f"class token of {experiment.teacher}, {fitted}")
            bar.update()
    if train.masks is not None:
        precision, expected = mask_precision(scores, train.masks[: len(scores)])
        protocol = "share of object pixels in the hidden patches, as many patches as the object covers"
        add("semantic_precision", 100 * precision, "train", len(scores), f"highest teacher scores, {protocol}")
        add("random_precision", 100 * expected, "train", len(scores), f"random places (expected), {protocol}")
    return Outcome(found)


def _standardised(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """A logistic regression on features (n, D) that are standardised one by one."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    return make_pipeline(scaler, fit(scaler.transform(features), labels))


def mask_precision(scores: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """How well scores s (n, N) find the objects of masks (n, H, W): (precision, expected precision of random patches).

    In every image the floor(m N) patches of highest score are hidden, at least one, where m is the object's share of
    the image. The precision is the share of object pixels in the hidden patches, as a mean over images.
    """
    import numpy as np

    n, side = len(masks), round(scores.shape[1] ** 0.5)
    patch = masks.shape[1] // side
    shares = masks.reshape(n, side, patch, side, patch).mean((2, 4)).reshape(n, -1)  # object share of every patch
    count = np.maximum(1, np.floor(shares.mean(1) * shares.shape[1])).astype(int)
    order = np.argsort(-scores, axis=1, kind="stable")
    hidden = np.take_along_axis(shares, order, axis=1).cumsum(1)[np.arange(n), count - 1] / count
    return float(hidden.mean()), float(shares.mean())


def _pixels(split: Split, count: int) -> np.ndarray:
    """The first images, float32 (count, D), as means over squares of `_square` pixels, which saves memory."""
    import numpy as np

    parts, square = [], _square(split)
    for start in range(0, count, BATCH):
        images = split.images[start : min(start + BATCH, count)]
        if square > 1:
            side = images.shape[1] // square
            images = images[:, : side * square, : side * square]
            images = images.reshape(len(images), side, square, side, square, -1).mean((2, 4))
        parts.append(images.reshape(len(images), -1).astype(np.float32) / 127.5 - 1)
    return np.concatenate(parts)


def _square(split: Split) -> int:
    """The side of the squares that reduce images to a side of about `LARGEST` pixels."""
    side: int = split.images.shape[1]
    return max(1, side // LARGEST)


def _train_features(work: Work, train: Split, count: int, extract: Extractor) -> tuple[np.ndarray, np.ndarray]:
    """Class tokens and scores of the first `count` images; if a stage stores the scores, those of all images."""
    import numpy as np

    if not needed(work.experiment):
        return extract(train, count)
    c, s = (array[:, 0] for array in work.inputs["teacher_features"].mapped(["c.npy", "s.npy"]))
    return c[:count].astype(np.float32), s


def _extractor(work: Work) -> Extractor:
    """The teacher as a function: class tokens (n, D_c) and scores (n, N), float32, of the first n images of a split."""
    import torch

    from harness.data.tensors import to_tensor

    teacher = teachers.teacher(work.experiment.teacher).load(patches(work.experiment), work.machine)

    def extract(split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad(), work.machine.autocast():
            parts = [
                teacher(work.machine.put(to_tensor(split.images[start : min(start + BATCH, count)])))
                for start in range(0, count, BATCH)
            ]
        c, s = (torch.cat([getattr(part, name) for part in parts]).cpu().numpy() for name in ("c", "s"))
        return c, s

    return extract
