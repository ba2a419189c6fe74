"""TensorBoard: one folder of events for each row and seed, DIR/PAGE/ROW, whose newest file holds all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.system.errors import Mistake
from harness.system.files import replacing
from harness.system.texts import in_cell
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
    """Writes the events of `runs` that changed; how many these are."""
    return sum(_write(run, folder / run.page / run.name) for run in runs)


def _write(run: TrackedRun, folder: Path) -> bool:
    from tensorboard.summary.writer.record_writer import RecordWriter

    earlier = sorted(folder.glob(f"{FILES}*"))  # by their time
    if earlier and earlier[-1].name.endswith(run.content):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "new"  # a TensorBoard that is open reads what has its name
    with replacing(new) as path, path.open("wb") as file:
        writer = RecordWriter(file)
        for event in _events(run):
            writer.write(event.SerializeToString())
    new.rename(folder / f"{FILES}{time.time():017.6f}.{run.content}")
    for path in earlier[:-1]:  # a TensorBoard that is open goes on from the last one to the new one
        path.unlink()
    return True


def _events(run: TrackedRun) -> Iterator[Event]:
    """The events of a run. They have the time of its beginning, as curves have none."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    def event(**content: Any) -> Event:
        return Event(wall_time=run.began, **content)

    yield event(file_version="brain.Event:2")
    yield event(session_log=SessionLog(status=SessionLog.START))  # voids what was read of earlier files
    yield event(summary=hparams_pb(run.fields, trial_id=run.name, start_time_secs=run.began))
    yield event(summary=text_pb("state", run.result.state))
    yield event(summary=text_pb("numbers", _table(run)))
    for points in run.curves.values():
        for step, values in points:
            for tag, value in values.items():
                yield event(step=step, summary=scalar_pb(tag, value))
    for tag, record in run.numbers.items():
        yield event(step=record.step, summary=scalar_pb(tag, record.value, description=record.protocol))


def _table(run: TrackedRun) -> str:
    """The numbers with N and protocol, as Markdown."""
    lines = [
        f"| {in_cell(tag)} | {r.value:.6g} | {r.n:,} | {r.protocol_id} | {in_cell(r.protocol)} |"
        for tag, r in run.numbers.items()
    ]
    return "\n".join(["| number | value | N | protocol id | protocol |", "|:--|--:|--:|:--|:--|", *lines])
