"""The table's rows: which faults, and what a run must make of each."""

import os
import random
import time

import job
import judge


class Case:
    """One fault. do(folder) raises judge.Lost; it returns how many faults really happened."""

    def __init__(self, row, name, do, weight=1):
        self.row, self.name, self.do, self.weight = row, f"{row}: {name}", do, weight


# ---- a fault at the n-th call ----

KILLED = None  # any exit code: mpirun's, or a signal
# A transient fault may be survived at once; else the run ends with an I/O error and says so.
IO_CODES = (0, 74)


def at_call(place, ranks, spec, codes):
    def do(folder):
        run, log = f"{folder}/run", f"{folder}/log"
        reference = place.reference()
        done = place.run(place.train(ranks, run), log, place.shim_env(run, spec))
        judge.check_ended(done, codes)
        if done.code == 0:
            judge.check_end(place, run, log, reference)
            return 1 if codes is not KILLED else 0
        judge.check_kept(place, run, log, reference)
        judge.check_going_on(place, ranks, run, log, reference)
        return 1
    return do


def calls(place, ranks):
    """How many calls of each class each rank makes, by a run that is only watched."""
    run = f"{place.work}/count{ranks}"
    done = place.run(place.train(ranks, run), f"{run}.log", place.shim_env(run))
    if done.code != 0:
        raise SystemExit(f"the job does not run under the shim:\n{done.text}")
    most = {}
    with open(f"{run}.calls") as f:
        for line in f:
            rank, kind, number = line.split(" ")[:3]
            key = (int(rank), kind)
            most[key] = max(most.get(key, 0), int(number))
    return sorted(most.items())


EVERY = ("write", "open", "close", "sync", "alloc", "rename", "link", "unlink")
AT_CALLS = (  # row, ranks, classes, action, exit codes
    ("SIGKILL before a call, 1 rank", 1, EVERY, "kill", KILLED),
    ("SIGKILL before a call, 2 ranks", 2, EVERY, "kill", KILLED),
    ("SIGKILL before a call, 4 ranks", 4, EVERY, "kill", KILLED),
    ("no space once", 12, ("write", "open", "alloc", "sync"), "ENOSPC", IO_CODES),
    ("no space from then on", 12, ("write", "open", "alloc", "sync"), "ENOSPC+", IO_CODES),
    ("I/O error (EIO) once", 12, ("write", "open", "alloc"), "EIO", IO_CODES),
    ("read-only from then on (EROFS)", 12, ("write", "open", "alloc", "rename", "unlink", "link"),
     "EROFS+", IO_CODES),
    ("short write", 12, ("write",), "short", IO_CODES),
    ("interrupted call (EINTR)", 12, ("write", "open", "close", "sync", "alloc"), "EINTR",
     IO_CODES),
    ("failed fsync", 12, ("sync",), "EIO", IO_CODES),
    ("failed close", 12, ("close",), "EIO", IO_CODES),
    ("failed rename, link or unlink", 12, ("rename", "link", "unlink"), "EIO", IO_CODES),
)


def call_rows(place):
    seen = {}
    for row, ranks, classes, action, codes in AT_CALLS:
        for n in (1, 2) if ranks == 12 else (ranks,):
            if n not in seen:
                seen[n] = calls(place, n)
            for (rank, kind), most in seen[n]:
                if kind not in classes:
                    continue
                for number in range(1, most + 1):
                    spec = f"{kind}:{rank}:{number}:{action}"
                    yield Case(row, f"{n} {spec}", at_call(place, n, spec, codes))


# ---- random kills ----

KILLS = 5  # of one run, one after the other


def ranks_of(session):
    """Processes of carat in a session."""
    found = []
    for pid in job.session_of(session):
        try:
            with open(f"/proc/{pid}/comm") as f:
                if f.read().strip() == "carat":
                    found.append(pid)
        except OSError:
            pass
    return sorted(found)


def victims(p, whom, draw):
    if whom == "mpirun":
        return [p.pid]
    if whom == "all":
        return job.session_of(p.pid)
    ranks = ranks_of(p.pid)
    return [draw.choice(ranks)] if ranks else []


def kill_some_time(place, p, run, whom, draw):
    """At any moment of the process, or in most cases of its work in the run folder."""
    early = draw.random() < 0.2
    share = draw.random()
    while not early and p.poll() is None and not os.path.exists(f"{run}/lock"):
        time.sleep(0.002)
    deadline = time.monotonic() + share * (1.0 if early else 0.5)
    while p.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    job.kill_all(victims(p, whom, draw))


def random_kills(place, ranks, whom, draw):
    def do(folder):
        run, log = f"{folder}/run", f"{folder}/log"
        reference = place.reference(job.LONG)
        for _ in range(KILLS):
            p = place.start(place.train(ranks, run, job.LONG), log, place.shim_env(run))
            kill_some_time(place, p, run, whom, draw)
            judge.check_ended(place.wait(p), KILLED)
            judge.check_kept(place, run, log, reference)
        judge.check_going_on(place, ranks, run, log, reference, job.LONG)
        return KILLS
    return do


def random_rows(place, n, seed):
    for i in range((n + KILLS - 1) // KILLS):
        draw = random.Random(f"{seed}/{i}")
        whom = ("a rank", "all", "mpirun")[i % 3]
        ranks = draw.choice((2, 3, 4) if whom == "mpirun" else (1, 2, 3, 4))
        yield Case(f"random SIGKILL of {whom}", f"{ranks} ranks, number {i}",
                   random_kills(place, ranks, whom, draw), KILLS)


# ---- all ----

def all_rows(place, n, seed):
    """Cases by row, at most n of each row where n is under 1000, drawn by the seed."""
    cases = list(call_rows(place))
    rows = {}
    for case in cases:
        rows.setdefault(case.row, []).append(case)
    for row, some in rows.items():
        if n < 1000 and len(some) > n:
            rows[row] = random.Random(f"{seed}/{row}").sample(some, n)
    for case in random_rows(place, n, seed):
        rows.setdefault(case.row, []).append(case)
    return rows
