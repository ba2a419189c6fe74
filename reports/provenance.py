"""What the numbers of any page rest on: data, protocols, configuration, cost, machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.evaluation import protocol_texts, records
from harness.experiments.experiment import DEFAULT_NETWORK, heeded
from harness.networks.teachers import TEACHERS
from harness.system import plugins
from reports.results import Result, costs, environments, rows_of, shared, total_seconds

MEASURING = ("diagnosis", "evaluation", "snapshots", "generation", "generator_snapshots", "guidance", "reference")
MOMENT = {
    "snapshots": " at the snapshots",
    "generator_snapshots": " at the snapshots of the generator",
    "guidance": " in the search",
}
LITE1 = "EfficientNet-Lite1, blocks.0 and blocks.1 (strides 2 and 4), channel-normalised"
LITE2 = "EfficientNet-Lite2, blocks.4 (stride 16), averaged over places"
LPIPS = "LPIPS 0.1 on VGG-16"
DISCRIMINATORS = {
    "efficientnet_lite0": "EfficientNet-Lite0, blocks.1, blocks.2 and blocks.4",
    "dino_vits16": "DINO ViT-S/16, the patch embedding and blocks 2, 5, 8 and 11",
}


@dataclass(frozen=True)
class Provenance:
    """Pieces of Markdown about all results of a page."""

    results: Sequence[Result]

    def data_facts(self) -> str:
        """Images, content hash and classes of the data set."""
        run = shared(self.results, "data")
        if run is None:
            return ""
        facts = run.result()["facts"]
        counts = ", ".join(f"{count} {split}" for split, count in facts["images"].items())
        data = self.results[0].experiment.data
        text = (
            f"Data set `{data.name}` at {data.image_size} px: {counts} images, {len(facts['classes'])} classes, "
            f"content `{facts['content']}`."
        )
        unreadable = facts.get("unreadable") or []
        if unreadable:
            text += f" {len(unreadable)} unreadable files were left out: {', '.join(unreadable[:5])}."
        return text

    @property
    def lite(self) -> bool:
        """Whether Lite2 measured, so that nothing is FID."""
        return self.results[0].experiment.evaluation.network == DEFAULT_NETWORK

    @property
    def measure(self) -> str:
        """The network that measured, and its layer."""
        return str(protocol_texts.measure_of(self.results[0].experiment).title)

    def networks(self) -> list[str]:
        """The frozen networks, by what each does."""
        experiments = [result.experiment for result in self.results]
        perceptual = experiments[0].tokenizer.perceptual
        distance = LPIPS if perceptual.lpips else LITE1
        found = {
            "teacher": TEACHERS[experiments[0].teacher].about,
            "perceptual distance": f"{distance}, on {100 * perceptual.batch_share:.0f} % of every batch",
        }
        reads = {e.tokenizer.adversarial.features for e in experiments if e.tokenizer.adversarial.on}
        if reads:
            read = " and ".join(DISCRIMINATORS[name] for name in sorted(reads))
            found["discriminator"] = f"heads on frozen features of {read}"
        found["measure"] = LITE2 if self.lite else self.measure
        return [f"{job}: {network}" for job, network in found.items()]

    @property
    def attribution(self) -> str:
        """Whose images the page shows."""
        text: str = plugins.load("harness.data.sets", self.results[0].experiment.data.name, "data set").attribution
        return text

    def protocols(self) -> list[str]:
        """Every metric with its N and protocol, each once."""
        where: dict[tuple[str, str], dict[str, None]] = {}
        for stage in MEASURING:
            for r in (record for result in self.results for record in result.records(stage)):
                title = records.title(r.metric, records.protocol_in(r.protocol_id))
                place = f"{r.split}{MOMENT.get(stage, '')}, N = {r.n}, `{r.protocol_id}`"
                where.setdefault((title, r.protocol), {})[place] = None
        return [f"**{title}** ({'; '.join(places)}): {protocol}." for (title, protocol), places in where.items()]

    def cost_table(self) -> str:
        """Seconds of every row and stage."""
        frame = costs(self.results)
        return str(frame.reset_index().to_markdown(index=False, floatfmt=".0f"))

    @property
    def total_minutes(self) -> float:
        return total_seconds(self.results) / 60

    def environment(self) -> str:
        """The machine and the versions, of all finished runs (their mixtures are told above the table)."""
        all_of = environments(self.results)
        if not all_of:
            return "nothing has run"
        _, e = all_of[-1]
        versions = ", ".join(f"{name} {version}" for name, version in e["versions"].items())
        commits: dict[str, dict[str, None]] = {}
        for stage, of in all_of:
            commits.setdefault(f"`{of['commit'][:12]}`{' with uncommitted changes' * bool(of['uncommitted'])}", {})[
                stage
            ] = None
        told = "; ".join(commit + f" ({', '.join(s)})" * (len(commits) > 1) for commit, s in commits.items())
        return (
            f"{e['processor']}; device {e['device']}, {e['dtype']}, {e['threads']} threads; Python {e['python']}; "
            f"{versions}; commit {told}."
        )

    def configuration(self) -> str:
        """The fields in which the rows that heed them agree; the others are in the table of rows."""
        rows = [heeded(seeds[0].experiment) for seeds in rows_of(self.results).values()]
        paths = dict.fromkeys(path for row in rows for path in row if path not in ("seed", "scale"))
        values = {path: {row[path] for row in rows if path in row} for path in paths}
        return "\n".join(f"{path} = {next(iter(found))}" for path, found in values.items() if len(found) == 1)
