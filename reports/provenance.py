"""Provenance of the numbers on a page: data, protocols, configuration, cost, machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.data.image_files import first_of
from harness.evaluation import protocol_texts, records
from harness.experiments.experiment import DEFAULT_NETWORK, Data, effective_fields
from harness.networks.teachers import TEACHERS
from harness.networks.weight_files import VGG
from harness.store.records import Record
from harness.store.runs import Run
from harness.system import plugins
from harness.system.environment import is_changed
from harness.system.texts import counted, in_cell, plain_markdown
from reports.results import Result, by_data_set, costs, environments, rows_of, shared, total_seconds
from reports.tables import MOST_COLUMNS

MEASURING = (
    *("diagnosis", "evaluation", "snapshots", "generation", "generator_snapshots", "guidance", "reference"),
    *("pca", "linear_gaussian", "pca_active", "transfer", "plugin_metrics", "plugin_generation"),
)
MOMENT = {
    "snapshots": " at the snapshots",
    "generator_snapshots": " at the snapshots of the generator",
    "guidance": " in the search",
    "pca": " by principal components",
    "linear_gaussian": " by the linear-Gaussian optimum",
    "pca_active": " by as many principal components as units are active",
    "transfer": " of the other data set",
}
STAGE_OF = {
    **dict.fromkeys(("generator", "guidance", "sampling"), "generator"),
    "finetuning": "finetuning",
}  # the stage that reads a group of fields, where not every study has it
LITE1 = "EfficientNet-Lite1, blocks.0 and blocks.1 (strides 2 and 4), channel-normalised"
LITE2 = "EfficientNet-Lite2, blocks.4 (stride 16), averaged over positions"
LPIPS = "LPIPS 0.1 on VGG-16"
DISCRIMINATORS = {
    "efficientnet_lite0": "heads on frozen features of EfficientNet-Lite0, blocks.1, blocks.2 and blocks.4",
    "dino_vits16": "heads on frozen features of DINO ViT-S/16, the patch embedding and blocks 2, 5, 8 and 11",
    "patchgan": "a PatchGAN that reads pixels, without a frozen network",
}


@dataclass(frozen=True)
class Provenance:
    """Markdown about all results of a page."""

    results: Sequence[Result]

    def data_facts(self) -> str:
        """Sentences on the images, content hash and classes of every data set that rows are trained or measured on."""
        told: dict[str, None] = {}
        for of in by_data_set(self.results).values():
            data, other = of[0].experiment.data, of[0].experiment.transferred
            if (run := shared(of, "data")) is not None:
                told[f"Data set {_facts(data, run)}"] = None
            if other is not None and (run := shared(of, "data of transfer")) is not None:
                told[f"Measured also on data set {_facts(other.data, run)}"] = None
        return " ".join(told)

    @property
    def lite(self) -> bool:
        """Whether Lite2 is the network of the metrics, so that nothing is FID."""
        return self.results[0].experiment.evaluation.network == DEFAULT_NETWORK

    @property
    def measure(self) -> str:
        """The network of the metrics and its layer."""
        return str(protocol_texts.measure_of(self.results[0].experiment).title)

    def networks(self) -> list[str]:
        """The frozen networks and their roles."""
        experiments = [result.experiment for result in self.results]
        perceptual = experiments[0].tokenizer.perceptual
        distance = LPIPS + self._other_vgg() if perceptual.lpips else LITE1
        roles = {
            "teacher": TEACHERS[experiments[0].teacher].about,
            "perceptual distance": f"{distance}, on {100 * perceptual.batch_share:g} % of every batch",
        }
        names = {e.tokenizer.adversarial.features for e in experiments if e.tokenizer.adversarial.on}
        if names:
            roles["discriminator"] = " and ".join(DISCRIMINATORS[name] for name in sorted(names))
        roles["measure"] = LITE2 if self.lite else self.measure
        return [f"{role}: {network}" for role, network in roles.items()]

    def _other_vgg(self) -> str:
        """The checksum of the weights of LPIPS in the first training if they are not the published ones."""
        run = shared(self.results, "tokenizer")
        checksum = run.result()["facts"].get("perceptual_weights", VGG.sha256) if run else VGG.sha256
        return "" if checksum.startswith(VGG.sha256) else f", other weights {checksum[:6]}"

    @property
    def attribution(self) -> str:
        """The attribution of the images on the page."""
        text: str = plugins.load("harness.data.sets", self.results[0].experiment.data.name, "data set").attribution
        return text

    def protocols(self) -> list[str]:
        """Every metric with what it measures, its N and its protocol, without repetitions."""
        sources: dict[tuple[str, str, str], dict[str, None]] = {}
        for stage in MEASURING:
            for r in (record for result in self.results for record in result.records(stage)):
                title = records.title(r.metric, records.protocol_in(r.protocol_id))
                source = f"{r.split}{MOMENT.get(stage, '')}, N = {r.n}, `{r.protocol_id}`"
                sources.setdefault((title, records.about(r.metric), r.protocol), {})[source] = None
        return [
            plain_markdown(f"**{title}**, {about} ({'; '.join(names)}): {protocol}.")
            for (title, about, protocol), names in sources.items()
        ]

    def difficulty(self) -> list[str]:
        """Sentences on how hard every data set is, one per split and one on semantic masks."""
        by_data = by_data_set(self.results).items()
        return [f"On `{data}`: {line}" if data else line for data, of in by_data for line in _difficulty(of)]

    def cost_table(self) -> str:
        """A table of at most seven columns: the seconds by row and stage, with the stages that take least as one.

        A sentence below it names these.
        """
        frame = costs(self.results).rename(index=in_cell, columns=in_cell)
        stages = frame.drop(columns="sum").sum()
        most = set(stages.nlargest(MOST_COLUMNS - 3).index)  # beside row, other stages and sum
        others = [stage for stage in stages.index if stage not in most]
        if len(others) > 1:
            frame.insert(len(stages), "other stages", frame[others].sum(axis=1))
            frame = frame.drop(columns=others)
        table = str(frame.reset_index().to_markdown(index=False, floatfmt=".0f"))
        return f"{table}\n\nOther stages: {', '.join(others)}." if len(others) > 1 else table

    @property
    def total_minutes(self) -> float:
        return total_seconds(self.results) / 60

    def environment(self) -> str:
        """Machine, versions and commits of the finished runs; warnings at the top of the page name any differences."""
        attempts = environments(self.results)
        if not attempts:
            return "Nothing has run."
        _, e = attempts[-1]
        versions = ", ".join(f"{name} {version}" for name, version in e["versions"].items())
        commits: dict[str, dict[str, None]] = {}
        for stage, environment in attempts:
            changes = " with uncommitted changes" if is_changed(environment) else ""
            commits.setdefault(f"`{environment['commit'][:12]}`{changes}", {})[stage] = None
        commit_text = "; ".join(commit + f" ({', '.join(s)})" * (len(commits) > 1) for commit, s in commits.items())
        machines = dict.fromkeys(
            f"{of['processor']}; device {of['device']}, {of['dtype']}, {counted(of['threads'], 'thread')}"
            for _, of in attempts
        )
        return plain_markdown(f"{' | '.join(machines)}; Python {e['python']}; {versions}; commit {commit_text}.")

    def configuration(self) -> str:
        """The fields on which all rows that use them agree; the other fields are in the table of rows.

        Those of a stage that no row has are left out: a study of latents alone trains no generator.
        """
        stages = {stage for r in self.results for stage in r.runs}
        unused = tuple(f"{group}." for group, stage in STAGE_OF.items() if stage not in stages)
        rows = [effective_fields(seeds[0].experiment) for seeds in rows_of(self.results).values()]
        paths = dict.fromkeys(path for row in rows for path in row if path not in ("seed", "scale"))
        paths = {path: None for path in paths if not path.startswith(unused)}
        values = {path: {row[path] for row in rows if path in row} for path in paths}
        return "\n".join(f"{path} = {next(iter(distinct))}" for path, distinct in values.items() if len(distinct) == 1)


def _left_out(files: int) -> str:
    return "1 unreadable file was left out" if files == 1 else f"{files} unreadable files were left out"


def _sources(*numbers: Record) -> str:
    """N and the protocols of numbers, in their order; runs of earlier code have no protocol."""
    ids = [f"`{r.protocol_id}`" for r in numbers if r.protocol_id]
    return ", ".join([f"N = {numbers[0].n}", *ids]) + "."


def _difficulty(results: Sequence[Result]) -> list[str]:
    """The sentences on one data set."""
    run = shared(results, "difficulty")
    if run is None:
        return []
    values: dict[str, dict[str, Record]] = {}
    for r in run.records():
        values.setdefault(r.split, {})[r.metric] = r
    lines = []
    for split, v in values.items():
        if {"majority", "probe_teacher", "probe_pixels"} <= v.keys():
            guessed, pixels, teacher = v["majority"], v["probe_pixels"], v["probe_teacher"]
            lines.append(
                f"`{split}`: a linear probe reaches {teacher.value:.1f} % on the teacher's class token and "
                f"{pixels.value:.1f} % on principal components of the pixels; guessing the largest class reaches "
                f"{guessed.value:.1f} %. {_sources(teacher, pixels, guessed)}"
            )
    v = values.get("train", {})
    if {"semantic_precision", "random_precision"} <= v.keys():
        semantic, random = v["semantic_precision"], v["random_precision"]
        lines.append(
            f"Semantic masks that hide as many patches as the object covers hit the object with a precision of "
            f"{semantic.value:.0f} %; random masks would reach {random.value:.0f} %. {_sources(semantic, random)}"
        )
    return lines


def _facts(data: Data, run: Run) -> str:
    """Sentences on one data set, which begin with its name."""
    facts = run.result()["facts"]
    counts = ", ".join(f"{count} {split}" for split, count in facts["images"].items())
    text = (
        f"{protocol_texts.data_set(data)} at {data.image_size} px: {counts} images, "
        f"{len(facts['classes'])} classes, content `{facts['content']}`."
    )
    if not protocol_texts.decided_by_name(data):
        text += f" Transparent pixels show {data.background}."
    if unreadable := facts.get("unreadable"):
        text += f" {_left_out(len(unreadable))}: {plain_markdown(first_of(unreadable))}."
    if passed_over := facts.get("passed_over"):
        reasons = ", ".join(f"{count} {reason}" for reason, count in passed_over.items())
        text += f" Passed over: {plain_markdown(reasons)}."
    return text
