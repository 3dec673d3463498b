"""Loaded by every process of a sweep that is to be killed: SIGKILL in a chosen phase.

``$SLAW_FAULTS`` is a folder with ``kills.json``, a list of faults in turn, each caused by the first
process that reaches its point: ``phase``; ``point`` (before the n-th file operation
within the phase) or ``delay_seconds`` (after the main thread was seen in it); ``whom``: all, the
runner, or this worker alone. The file ``kill.<i>`` says in which phase the i-th was done.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

# innermost first: the function a process is in -> the phase it is in
PHASES = {
    "save_checkpoint": "checkpointing",
    "prune_checkpoints": "checkpointing",
    "append_curve": "evaluation",
    "evaluate": "evaluation",
    "save_weights": "weights",
    "write_record": "record",
    "clean_up_run": "record",
    "_take": "leasing",
    "release": "leasing",
    "begin": "resuming",
    "_accumulate_gradients": "training",
    "apply_gradients": "training",
    "_gradients": "training",
    "prepare": "data",
    "_agreed": "planning",
    "_reconcile": "planning",
}
WATCHED = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir")


def phase_of(frame):
    """The phase of the innermost function of ours that has one."""
    while frame is not None:
        if "/scaling_law/" in frame.f_code.co_filename and frame.f_code.co_name in PHASES:
            return PHASES[frame.f_code.co_name]
        frame = frame.f_back
    return "start-up or waiting"


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def family_of(runner):
    """The runner's workers."""
    if runner is None:
        return []
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if parent_of(pid) == runner]


class Killer:
    def __init__(self, folder, role):
        self.folder, self.role = folder, role
        self.entries = json.loads((folder / "kills.json").read_text())
        self.seen = 0
        self.asleep = threading.local()
        self.place = folder.parent.name  # the world's name, in every path that is there
        self.main = threading.main_thread().ident or 0

    def next(self):
        done = len(list(self.folder.glob("kill.*")))
        if done >= len(self.entries):
            return None, None
        entry = self.entries[done]
        mine = entry["role"] == self.role
        return (done, entry) if mine else (done, None)

    def on_event(self, event, args):
        if event not in WATCHED or getattr(self.asleep, "now", False):
            return
        names = [str(arg) for arg in args[:2] if isinstance(arg, (str, os.PathLike))]
        if not any(self.place in str(Path(name).absolute()) for name in names):
            return
        self.asleep.now = True
        try:
            index, entry = self.next()
            here = phase_of(sys._getframe())
            if entry and "point" in entry and here == entry["phase"]:
                self.seen += 1
                if self.seen >= entry["point"]:
                    self.kill(index, entry, here)
        finally:
            self.asleep.now = False

    def watch(self):
        self.asleep.now = True
        while True:
            index, entry = self.next()
            if index is None:
                return
            frame = sys._current_frames().get(self.main)
            timed = entry and "delay_seconds" in entry
            if timed and phase_of(frame) == entry["phase"]:
                time.sleep(entry["delay_seconds"])
                self.kill(index, entry, phase_of(sys._current_frames().get(self.main)))
            time.sleep(0.002 if timed else 0.05)

    def kill(self, index, entry, here):
        # not by the current parent: that of an orphan is another process
        named = int(sys.orig_argv[-1]) if self.role == "worker" else os.getpid()
        runner = named if self.role == "runner" or os.getppid() == named else None
        if runner is None and entry["whom"] == "runner":
            return
        try:
            with (self.folder / f"kill.{index}").open("x") as file:
                file.write(f"{self.role} {here}, killing {entry['whom']}")
        except FileExistsError:
            return
        victims = {"all": [runner, *family_of(runner)], "runner": [runner], "worker": []}
        for pid in victims[entry["whom"]] if runner else ():
            if pid != os.getpid():
                os.kill(pid, signal.SIGKILL)
        if entry["whom"] != "runner" or self.role == "runner":
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen = 0


def arm():
    words = " ".join(sys.orig_argv)
    role = "worker" if "scaling_law.run.worker" in words else "runner"
    if "scaling_law" not in words or not os.environ.get("SLAW_FAULTS"):
        return
    from scaling_law.spec.resources import Resources

    # runs of one second should write checkpoints too
    defaults = Resources.__init__.__kwdefaults__ or {}
    defaults["checkpoint_every_seconds"] = 0.1
    killer = Killer(Path(os.environ["SLAW_FAULTS"]), role)
    if killer.next()[0] is not None:
        sys.addaudithook(killer.on_event)
        threading.Thread(target=killer.watch, daemon=True).start()


arm()
