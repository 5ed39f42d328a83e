"""Faults at the n-th call of a run that goes on from where another was killed."""

import os
import shutil

import judge
from calls import EVERY, IO_CODES, numbers
from case import KILLED, Case, suffer

KEYS = ("train.steps=5", "checkpoint.every=1", "checkpoint.keep=3")
RANKS = (1, 2)
AT_CALLS = (  # row, ranks whose calls these are, classes, action by number, exit codes
    ("SIGKILL before a call of a resuming run", "all", EVERY, lambda number: "kill", KILLED),
    # Root reads what it does alone.
    ("read error (EIO) at resume", "last", ("read",),
     lambda number: "EIO+" if number % 2 else "EIO", IO_CODES),
)


def kill_early(place):
    """A run that was killed in its last step: with three checkpoints, a lock, and an open segment."""
    run = f"{place.work}/begun"
    env = {"CARAT_FAULT": f"phase.agree:0:{2 * 4 + 1}:kill", **place.shim_env(run)}
    place.run(place.train(1, run, (*KEYS, "checkpoint.async=off")), f"{run}.log", env)
    if len(judge.published(run)) != 3 or not os.path.exists(f"{run}/lock"):
        raise SystemExit(f"{run} was not killed in its last step: see {run}.log")


def copy_begun(place, run):
    """With the log of its calls, which tells what was published."""
    shutil.copytree(f"{place.work}/begun", run)
    with open(f"{place.work}/begun.calls") as before, open(f"{run}.calls", "w") as after:
        after.write(before.read().replace(f"{place.work}/begun", run))


def at_call(place, ranks, spec, codes):
    def do(folder):
        copy_begun(place, f"{folder}/run")
        env = place.shim_env(f"{folder}/run", spec)
        done = suffer(place, folder, ranks, env, codes, KEYS)
        judge.insist(done is None or "passed over" not in done.text, "a checkpoint is passed over")
        return 0 if done is None else 1
    return do


def watched(place, ranks):
    """How many calls of each class each rank makes while it goes on."""
    run = f"{place.work}/resumed{ranks}"
    copy_begun(place, run)
    os.unlink(f"{run}.calls")
    done = place.run(place.train(ranks, run, KEYS), f"{run}.log", place.shim_env(run))
    if done.code != 0:
        raise SystemExit(f"the job does not go on under the shim:\n{done.text}")
    return numbers(run)


def all_rows(place):
    kill_early(place)
    seen = {ranks: watched(place, ranks) for ranks in RANKS}
    for row, whose, classes, action, codes in AT_CALLS:
        for ranks in RANKS:
            for (rank, kind), most in seen[ranks]:
                counts = kind in classes and (whose == "all" or rank == ranks - 1)
                for number in range(1, most + 1 if counts else 0):
                    spec = f"{kind}:{rank}:{number}:{action(number)}"
                    yield Case(row, f"{ranks} {spec}", at_call(place, ranks, spec, codes))
