"""A real Slurm of one node for tests, in a directory of its own, without systemd, cgroups and accounting.

`with Slurm(tmp_path) as slurm:` runs munged, slurmctld and slurmd. Clients find it with `slurm.environment`. Instances
with different directories run side by side.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "squeue", "scancel", "sinfo")
PACKAGES = "munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins"
START_SECONDS = 30
STOP_SECONDS = 10
POLL_SECONDS = 0.05
LOG_LINES = 15
PORTS = range(20_000, 32_000)  # below those the system gives to outgoing connections, so a free one stays free
NODE = "node"
CLUSTER = "tests"
SOCKET_BYTES = 107  # the longest path of a Unix socket; the step daemon's are the longest here

CONFIGURATION = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its credential has expired: 121 s by default, which also stands in for less than 5 s.
AuthInfo=socket={root}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={root}/log/jobs.log
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
SlurmctldParameters=preempt_send_user_signal
# The node may have more CPUs here than the machine has.
SlurmdParameters=config_overrides
KillWait=3
MinJobAge=600
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes={node} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=15
PartitionName=high Nodes={node} PriorityTier=10 PreemptMode=OFF
"""


def available() -> str:
    """Why no Slurm can be started here, in one line; empty if one can."""
    missing = [name for name in (*DAEMONS, *CLIENTS) if shutil.which(name, path=_path()) is None]
    if missing:
        return f"no {', '.join(missing)} on PATH; the packages `{PACKAGES}` provide all of Slurm that is needed"
    if os.geteuid() != 0:
        return f"Slurm's daemons have to be started by root (they come with the packages `{PACKAGES}`)"
    return ""


class Slurm:
    """One node; the partitions `main`, which is the default, and `high`, which preempts (requeues) jobs of `main`.

    `environment` is what clients need, to be put over that of the process.
    """

    def __init__(self, root: Path, cpus: int = 4):
        self.root = root.resolve()
        self.cpus = cpus
        self.configuration = self.root / "slurm.conf"
        # Absolute: with a relative path every command hangs for a minute.
        self.environment = {"SLURM_CONF": str(self.configuration), "PATH": _path()}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        longest = self.root / "spool" / f"{NODE}_99999.4294967291"
        if len(os.fsencode(longest)) > SOCKET_BYTES:
            raise ValueError(f"{self.root}: too long a path for the sockets that Slurm makes in it")

    def __enter__(self) -> Slurm:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the node is idle. Nothing is left of an earlier start."""
        if self._daemons:
            raise RuntimeError(f"the Slurm of {self.root} runs already")
        for folder in ("log", "state", "spool", "munge"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
            (self.root / folder).mkdir(parents=True)
        key, munge_socket = self.root / "munge/key", self.root / "munge/socket"
        key.touch(0o400)
        key.write_bytes(os.urandom(128))
        controller_port, node_port = _free_ports(2)
        self.configuration.write_text(
            CONFIGURATION.format(
                cluster=CLUSTER,
                root=self.root,
                host=socket.gethostname().split(".")[0],
                node=NODE,
                cpus=self.cpus,
                controller_port=controller_port,
                node_port=node_port,
            )
        )
        configured = ("-D", "-f", str(self.configuration))  # -D: not as a daemon, so that its end is seen
        munge = (f"--key-file={key}", f"--socket={munge_socket}", f"--pid-file={self.root}/munge/pid")
        try:
            # One after the other: whoever does not find the one before sleeps for a second.
            self._launch("munged", "--foreground", "--force", *munge, f"--seed-file={self.root}/munge/seed")
            self._wait_until(munge_socket.exists)
            self._launch("slurmctld", *configured)
            self._wait_until(lambda: _listening(controller_port))
            self._launch("slurmd", "-N", NODE, *configured)
            self._wait_until(lambda: self._client("sinfo", "-h", "-o", "%T").stdout.strip() == "idle")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kills the daemons, the jobs and whatever processes these have started; not those of other instances."""
        deadline = time.monotonic() + STOP_SECONDS
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        self._daemons.clear()
        while processes := self._processes():
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes of {self.root} survive: {sorted(processes)}")
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(POLL_SECONDS)

    def submit(self, command: str, *options: str) -> str:
        """The id of a new job that runs a line of shell. Its output is in `slurm-<id>.out` of the root."""
        return self.run("sbatch", "--parsable", *options, "--wrap", command).strip()

    def run(self, *command: str) -> str:
        """What a client prints."""
        done = self._client(*command)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def squeue(self) -> dict[str, str]:
        """The state of every job since the start, finished ones too; a task of an array is `<job>_<index>`."""
        lines = self.run("squeue", "-h", "-a", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def jobs(self, job: str) -> dict[str, str]:
        """The state of a job; of all tasks if it is an array."""
        return {name: state for name, state in self.squeue().items() if name == job or name.startswith(f"{job}_")}

    def wait_for(self, job: str, states: Collection[str], timeout: float = 30) -> dict[str, str]:
        """Waits until a job, or every task of an array, is in one of the states."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.jobs(job)
            if found and set(found.values()) <= set(states):
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job} not {' or '.join(states)} within {timeout:g} s: {found}\n{self._logs()}")
            time.sleep(POLL_SECONDS)

    def _launch(self, daemon: str, *options: str) -> None:
        program = shutil.which(daemon, path=_path())
        if program is None:
            raise RuntimeError(available())
        with (self.root / "log" / f"{daemon}.out").open("wb") as out:
            self._daemons[daemon] = subprocess.Popen(
                [program, *options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a Ctrl-C is for the tests, which then stop it
            )

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            dead = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if dead:
                raise RuntimeError(f"{', '.join(dead)} ended\n{self._logs()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"no idle node within {START_SECONDS} s\n{self._logs()}")
            time.sleep(POLL_SECONDS)

    def _client(self, *command: str) -> subprocess.CompletedProcess[str]:
        # Nothing of the environment of the tests: options for Slurm's commands may be in it.
        return subprocess.run(command, env=self.environment, cwd=self.root, capture_output=True, text=True)

    def _processes(self) -> set[int]:
        """Slurm's own, those of jobs, by their environment, and whatever descends from them."""
        configured, in_job = f"SLURM_CONF={self.configuration}", f"SLURM_CLUSTER_NAME={CLUSTER}"
        parents, found = {}, set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                stat = (folder / "stat").read_bytes()
                environment = (folder / "environ").read_bytes().split(b"\0")
                program = (folder / "exe").readlink().name
            except OSError:  # has just ended, or is the kernel's
                continue
            process = int(folder.name)
            parents[process] = int(stat.rpartition(b")")[2].split()[1])
            if os.fsencode(configured) in environment and (
                program.startswith("slurm") or in_job.encode() in environment
            ):
                found.add(process)
        while children := {process for process, parent in parents.items() if parent in found} - found:
            found |= children
        return found

    def _logs(self) -> str:
        """The last lines of every daemon."""
        lines = []
        for path in sorted((self.root / "log").glob("*.out")):
            lines += [f"-- {path.name}", *path.read_text(errors="replace").splitlines()[-LOG_LINES:]]
        return "\n".join(lines)


def _path() -> str:
    """PATH with the folder of the daemons, which that of a user may lack."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


def _free_ports(number: int) -> list[int]:
    ports: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):  # tests in several processes may have the same seed
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            ports.append(port)
        if len(ports) == number:
            return ports
    raise RuntimeError(f"no {number} free TCP ports from {PORTS.start} to {PORTS.stop - 1}")


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
