"""Slurm, beside Snakemake's plugin for it: what its queue would keep silent about is one line here.

Three looks at the queue. Before anything is submitted: would each kind of job ever run (`check`)?
When Snakemake starts: which jobs did a killed Snakemake leave there (`end_left`)? While it runs:
which jobs will never start, were cancelled by preemption, or failed, and why (`Watch`)?
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refigure.errors import UserError

LOGS = Path(".snakemake/slurm_logs")
"""Where the plugin has Slurm write what a job says before its rule's own log begins."""
OVER = ("CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
OVER += ("BOOT_FAIL", "DEADLINE", "REVOKED")
NEVER = re.compile(
    r"^(PartitionTimeLimit|BadConstraints|AccountNotAllowed"
    r"|InvalidAccount|InvalidQOS|QOSNotAllowed|JobHoldMaxRequeue|(Assoc|QOS)Max\w*PerJob\w*)"
)
"""Slurm's reasons for which a job waits until somebody changes it or the cluster."""
WORDS_S = 30.0  # Slurm's own commands; a controller that is down answers after 10 to 20


@dataclass(frozen=True)
class Queued:
    """A job of this user as `squeue` lists it.

    Args:
        state, reason: Slurm's words, "PENDING" and "PartitionTimeLimit".
        folder: that it was submitted from.
        comment: the plugin's, `rule_train_wildcards_...`; empty for what Snakemake did not submit.
    """

    id: str
    state: str
    reason: str
    folder: str
    comment: str

    @property
    def over(self) -> bool:
        """Whether it has ended; Slurm lists it for some minutes more."""
        return self.state in OVER

    @property
    def words(self) -> str:
        """Which job it is: `Slurm job 12 (train)`."""
        rule = re.match(r"rule_(\w+?)(_wildcards_|$)", self.comment)
        return f"Slurm job {self.id} ({rule[1] if rule else self.comment})"


def said(*command: str) -> subprocess.CompletedProcess | None:
    """A Slurm command's answer; None where there is none or it does not answer in time."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=WORDS_S)
    except (OSError, subprocess.TimeoutExpired):
        return None


def jobs_of(root: Path) -> list[Queued] | None:
    """The jobs that a Snakemake submitted from a folder; None where Slurm does not answer."""
    listed = said("squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r|%Z|%k")
    if listed is None or listed.returncode:
        return None
    found = [Queued(*line.split("|", 4)) for line in listed.stdout.splitlines() if "|" in line]
    here = str(root.resolve())
    return [one for one in found if one.folder == here and one.comment.startswith("rule_")]


# ---------------------------------------------------------------------- jobs of a killed Snakemake


def end_left(root: Path, wait_s: float = 180.0, pause_s: float = 1.0) -> int:
    """End the jobs that a killed Snakemake left in the queue, and wait until they have ended.

    They would train what this one is about to submit. On TERM they write their states, which the
    jobs of this one go on from.

    Args:
        root: folder that they were submitted from. The caller knows that no Snakemake works there.

    Returns:
        How many there were: what is to be done has to be looked up again if any.

    Raises:
        UserError: they have not ended in time, or Slurm says nothing of them.
    """
    if not (root / LOGS).is_dir() or not shutil.which("squeue"):
        return 0
    last = time.monotonic() + wait_s
    while (found := jobs_of(root)) is None:  # silence is no sign that there are none
        if time.monotonic() > last:
            raise UserError(
                f"squeue does not answer, so jobs of a killed Snakemake may still train in {root};"
                f" start again when it does, or remove {LOGS} if there are none"
            )
        time.sleep(pause_s)
    left = [one.id for one in found if not one.over]
    if not left:
        return 0
    many = "1 Slurm job" if len(left) == 1 else f"{len(left)} Slurm jobs"
    print(
        f"refigure: ends {many} of a Snakemake that was killed; they write their states",
        file=sys.stderr,
        flush=True,
    )
    said("scancel", *left)
    last = time.monotonic() + wait_s
    while (found := jobs_of(root)) is None or any(one.id in left and not one.over for one in found):
        if time.monotonic() > last:
            raise UserError(f"Slurm jobs {' '.join(left)} do not end: `scancel --full` them")
        time.sleep(pause_s)
    return len(left)


# ---------------------------------------------------------------------- before the first submission


@dataclass(frozen=True)
class Asked:
    """What a kind of job asks Slurm for.

    Args:
        rule: whose job it is.
        options: of `sbatch`.
        partition: "" for the cluster's default.
        minutes: of its time limit; None: the partition's own.
    """

    rule: str
    options: tuple[str, ...]
    partition: str
    minutes: int | None


def asked(job: Any, executor: Any) -> Asked:
    """What the plugin would ask Slurm for.

    Args:
        job: of Snakemake's graph.
        executor: the plugin's.

    Raises:
        UserError: the plugin itself refuses the job's partition.
    """
    wants = job.resources
    try:
        place = shlex.split(executor.get_partition_arg(job) or "")
    except Exception as error:
        raise UserError(f"rule {job.rule.name}: {_line(str(error))}") from None
    options = [*place]
    accounts = re.split(r"[,\s]+", str(wants.get("slurm_account") or ""))
    options += ["-A", accounts[0]] if accounts[0] else []
    for key, option in (("runtime", "-t"), ("mem_mb", "--mem"), ("gpu", "--gpus"), ("qos", "-q")):
        options += [option, str(wants[key])] if wants.get(key) else []
    options += ["--gres", str(wants["gres"])] if wants.get("gres") else []
    options += ["-C", str(wants["constraint"])] if wants.get("constraint") else []
    options += ["-c", str(wants.get("cpus_per_task") or job.threads)]
    options += shlex.split(str(wants.get("slurm_extra") or ""))
    partition = place[place.index("-p") + 1] if "-p" in place else ""
    minutes = wants.get("runtime")
    return Asked(job.rule.name, tuple(options), partition, int(minutes) if minutes else None)


def check(kinds: Iterable[Asked], status_command: str | None) -> None:
    """Refuse what Slurm would never run, and a way of asking for states that gets no answer.

    Args:
        kinds: what the jobs of this start ask for.
        status_command: of the plugin, "squeue" or "sacct".

    Raises:
        UserError: names the rule, what it asks for and what the cluster allows.
    """
    if status_command == "sacct" and _setting("AccountingStorageType").endswith("/none"):
        raise UserError(
            "this cluster keeps no accounts, and sacct would be asked for ever: write"
            " `slurm-status-command: squeue` to the profile"
        )
    if status_command == "sacct":
        counted = said("sacct", "-X", "-n", "-S", "now-1minutes")
        if counted is not None and counted.returncode:
            raise UserError(
                f"sacct does not answer ({_line(counted.stderr)}): write"
                " `slurm-status-command: squeue` to the profile"
            )
    limits = partitions()
    for one in dict.fromkeys(kinds):
        where = one.partition or next((name for name, own in limits.items() if own["default"]), "")
        if limits and where and where not in limits:
            raise UserError(
                f"rule {one.rule}: this cluster has no partition '{where}', but"
                f" {', '.join(limits)}: write yours to profiles/slurm/partitions.yaml"
            )
        most = limits.get(where, {}).get("minutes")
        if one.minutes and most is not None and one.minutes > most:
            raise UserError(
                f"rule {one.rule} asks for {one.minutes} minutes, partition '{where}' gives at most"
                f" {most}: write `set-resources: {one.rule}: {{runtime: {most}}}` to the profile;"
                " a training goes on from its state in the next attempt"
            )
        tried = said("sbatch", "--test-only", "-J", "refigure", *one.options, "--wrap", "true")
        if tried is not None and tried.returncode:
            options = " ".join(one.options)
            raise UserError(f"rule {one.rule}: Slurm refuses `{options}`: {_line(tried.stderr)}")


def partitions() -> dict[str, dict[str, Any]]:
    """Partition -> `minutes` of its time limit (None: none) and whether it is the `default`."""
    shown = said("scontrol", "show", "partition", "--oneliner")
    found = {}
    for line in shown.stdout.splitlines() if shown and not shown.returncode else ():
        keys = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" in keys:
            found[keys["PartitionName"]] = {
                "minutes": minutes_of(keys.get("MaxTime", "UNLIMITED")),
                "default": keys.get("Default") == "YES",
            }
    return found


def minutes_of(time_: str) -> int | None:
    """Slurm's `days-hours:minutes:seconds` in whole minutes; None where there is no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", time_)
    if not found:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes


def _setting(name: str) -> str:
    shown = said("scontrol", "show", "config")
    found = re.search(rf"^{name}\s*=\s*(.*)$", shown.stdout if shown else "", re.MULTILINE)
    return found[1].strip() if found else ""


def _line(text: str) -> str:
    """The last line of a text that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason given"


# ---------------------------------------------------------------------- while Snakemake runs


class Watch:
    """Looks at the queue now and then, and says in a line what the plugin waits for in silence.

    A job that Slurm cancelled to make room (`PreemptMode=CANCEL`) counts as alive for the plugin,
    which waits for it for ever: it is put back into the queue, and goes on from its state; where
    Slurm refuses that, it has failed, and Snakemake's next attempt goes on. A job that can never
    start is cancelled, so that it fails. One that squeue has forgotten has ended, as where the
    plugin could not ask for longer than Slurm remembers; the plugin would wait for that too. Of one
    that failed, the end of what Slurm kept of its output is shown, where the rule's own log may be
    empty.

    Args:
        root: folder that the jobs are submitted from.
        say: takes a line.
        executor: the plugin's, which is told how such jobs ended; None: nobody is.
    """

    def __init__(
        self, root: Path, say: Callable[[str], None] | None = None, executor: Any | None = None
    ):
        self.root = root
        self.executor = executor
        self.say = say or (lambda line: print(f"refigure: {line}", file=sys.stderr, flush=True))
        self.told: set[tuple[str, str]] = {
            (one.id, one.state) for one in jobs_of(root) or () if one.over
        }
        self.seen: dict[str, Queued] = {}

    def start(self, pause_s: float = 20.0) -> None:
        """Look again and again in a thread that ends with this process."""

        def work() -> None:
            while True:
                time.sleep(pause_s)
                with contextlib.suppress(Exception):  # of no use to end a build for
                    self.look()

        threading.Thread(target=work, name="slurm", daemon=True).start()

    def look(self) -> None:
        """Look once."""
        listed = jobs_of(self.root)
        if listed is None:
            return
        self.seen |= {one.id: one for one in listed}
        for id_ in self.seen.keys() - {one.id for one in listed}:
            if self._ended(id_, well=True):  # the files say whether it did
                self.say(f"{self.seen[id_].words} is in the queue no more: it has ended")
        for one in listed:
            about = one.state if one.over else f"{one.state} {one.reason}"
            if (one.id, about) in self.told:
                continue
            if one.state == "PENDING" and NEVER.match(one.reason):
                self.told.add((one.id, about))
                self.say(f"{one.words} can never start: {one.reason}; it is cancelled")
                said("scancel", one.id)
            elif one.state == "PREEMPTED":
                self._again(one)
            elif one.state in ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "BOOT_FAIL"):
                self.told.add((one.id, about))
                reason = reason_of(self.root, one.id)
                self.say(f"{one.words} ended: {one.state}{f': {reason}' if reason else ''}")

    def _again(self, one: Queued) -> None:
        """Put a job that was preempted back into the queue; cancel what cannot be put back."""
        done = said("scontrol", "requeue", one.id)
        if done is not None and not done.returncode:
            self.say(f"{one.words} was preempted, and is put back into the queue")
        elif self._ended(one.id, well=False):
            self.told.add((one.id, one.state))
            why = _line(done.stderr) if done else "no answer"
            self.say(
                f"{one.words} was preempted and cannot be put back ({why}): it counts as failed,"
                " and the next attempt goes on from its state"
            )

    def _ended(self, id_: str, well: bool) -> bool:
        """Tell the plugin that a job has ended, unless it is just asking for states itself.

        Args:
            well: Snakemake looks for the job's files then, and takes it as failed without them.

        Returns:
            Whether it waited for it.
        """
        if self.executor is None:
            return False
        with self.executor.lock:
            waits = [one for one in self.executor.active_jobs if one.external_jobid == id_]
            for one in waits:
                self.executor.active_jobs.remove(one)
        tell = self.executor.report_job_success if well else self.executor.report_job_error
        for one in waits:
            tell(one)
        return bool(waits)


_CHATTER = re.compile(
    r"^(host|Building DAG|shared_storage|Using shell|Provided|Rules claiming|Select jobs|Execute"
    r"|Job stats|Job counts|Assuming|Shutting down|Storing|Exiting|localrule"
    r"|slurmstepd: error: \*\*|WorkflowError:$|Complete log"
    r"|\[|\d+$|rule |    |srun: error: .*: task)"
)


def reason_of(root: Path, job: str) -> str:
    """The line in what Slurm kept of a job's output that says why it failed; "" if none does."""
    for path in sorted((root / LOGS).rglob(f"{job}.log")):
        with contextlib.suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            telling = [line.strip() for line in lines if line.strip() and not _CHATTER.match(line)]
            named = [
                line for line in telling if re.search(r"[Ee]rror|not found|denied|No such", line)
            ]
            for line in [*named[:1], *telling[-1:]]:
                return f"{line[:300]} ({path.relative_to(root)})"
    return ""
