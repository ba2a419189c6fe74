"""TensorBoard: one file of events for each row and seed, in DIR/PAGE/ROW."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.system.errors import Mistake
from harness.system.files import replacing
from harness.system.texts import plain_markdown
from reports.trackers.tracked import TrackedRun

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

FILES = "events.out.tfevents."


def require() -> None:
    """Raises `Mistake` if the package is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise Mistake('TensorBoard is not installed: pip install -e ".[tensorboard]"') from None


def write(runs: Sequence[TrackedRun], folder: Path) -> int:
    """Writes the events of `runs`; of how many they changed. A file with other events of the same run is removed."""
    return sum(_write(run, folder / run.page / run.name) for run in runs)


def _write(run: TrackedRun, folder: Path) -> bool:
    from tensorboard.summary.writer.record_writer import RecordWriter

    earlier = list(folder.glob(f"{FILES}*"))
    if any(path.name.endswith(run.content) for path in earlier):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    # A TensorBoard that watches the folder goes on to files whose names are greater.
    with replacing(folder / f"{FILES}{time.time():017.6f}.{run.content}") as path, path.open("wb") as file:
        writer = RecordWriter(file)
        for event in _events(run):
            writer.write(event.SerializeToString())
    for path in earlier:
        path.unlink()
    return True


def _events(run: TrackedRun) -> Iterator[Event]:
    """The events of a run. They have the time of its beginning, as curves have none."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    def event(**content: Any) -> Event:
        return Event(wall_time=run.began, **content)

    yield event(file_version="brain.Event:2")
    yield event(session_log=SessionLog(status=SessionLog.START))  # what was read of earlier files is void
    yield event(summary=hparams_pb(run.fields, trial_id=run.name, start_time_secs=run.began))
    yield event(summary=text_pb("state", run.result.state))
    yield event(summary=text_pb("numbers", _table(run)))
    for points in run.curves.values():
        for step, values in points:
            yield event(step=step, summary=_scalars(values))
    for tag, record in run.numbers.items():
        yield event(step=record.step, summary=_scalars({tag: record.value}, record.protocol))


def _scalars(values: dict[str, float], description: str = "") -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.scalar.metadata import create_summary_metadata

    about = create_summary_metadata(display_name="", description=description)
    return Summary(value=[Summary.Value(tag=tag, simple_value=value, metadata=about) for tag, value in values.items()])


def _table(run: TrackedRun) -> str:
    """The numbers with N and protocol, as Markdown."""
    lines = [
        f"| {tag} | {r.value:.6g} | {r.n:,} | {r.protocol_id} | {plain_markdown(r.protocol)} |"
        for tag, r in run.numbers.items()
    ]
    return "\n".join(["| number | value | N | protocol id | protocol |", "|:--|--:|--:|:--|:--|", *lines])
