"""Processes that die or hang, at random moments or in each phase of their work."""

import glob
import os
import random
import re
import time

import job
import judge
from case import KILLED, Case, suffer

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


def kill_some_time(p, run, whom, draw):
    """At any moment of the process, or in most cases of its work in the run folder."""
    early, share = draw.random() < 0.2, draw.random()
    while not early and p.poll() is None and not os.path.exists(f"{run}/lock"):
        time.sleep(0.002)
    deadline = time.monotonic() + share * (1.0 if early else 0.5)
    while p.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    if p.poll() is not None:
        return 0
    job.kill_all(victims(p, whom, draw))
    return 1


def random_kills(place, ranks, whom, name):
    def do(folder):
        run, log, draw = f"{folder}/run", f"{folder}/log", random.Random(name)
        reference = place.reference(job.LONG)
        killed = 0
        for _ in range(KILLS):
            p = place.start(place.train(ranks, run, job.LONG), log, place.shim_env(run))
            killed += kill_some_time(p, run, whom, draw)
            judge.check_ended(place.wait(p), KILLED)
            judge.check_kept(place, run, log, reference)
        judge.check_going_on(place, ranks, run, log, reference, job.LONG)
        return killed
    return do


def random_rows(place, n, seed):
    for i in range((n + KILLS - 1) // KILLS):
        whom = ("a rank", "all", "mpirun")[i % 3]
        ranks = random.Random(f"{seed}/{i}").choice((2, 3, 4) if whom == "mpirun" else (1, 2, 3, 4))
        yield Case(f"SIGKILL of {whom}, at random", f"{ranks} ranks, number {i}",
                   random_kills(place, ranks, whom, f"{seed}/{i}/kills"), KILLS)


# ---- killed again ----

# Steps of the first start, and of the second: it ends before it has redone what the first has shown.
REDONE = ((5, 1), (8, 1), (11, 1), (38, 1))


def killed_again(place, ranks, rank, steps):
    """What the first start has shown is there when the second is killed as well."""
    def do(folder):
        run, log = f"{folder}/run", f"{folder}/log"
        reference = place.reference(job.LONG)
        for n in steps:
            env = {"CARAT_FAULT": f"phase.agree:{rank}:{2 * n + 1}:kill", **place.shim_env(run)}
            judge.check_ended(place.run(place.train(ranks, run, job.LONG), log, env), KILLED)
            judge.check_kept(place, run, log, reference)
        judge.insist(len(judge.shown_steps(run)) >= steps[0], "it was killed too early")
        judge.check_going_on(place, ranks, run, log, reference, job.LONG)
        return len(steps)
    return do


def redone_rows(place):
    for ranks, rank in ((1, 0), (2, 0), (2, 1)):
        for steps in REDONE:
            yield Case("SIGKILL again while steps are redone",
                       f"{ranks} ranks, {rank} after {steps[0]} and {steps[1]} steps",
                       killed_again(place, ranks, rank, steps), len(steps))


# ---- phases ----

WATCHDOG_S = 2
UNREAD_S = 150
SAMPLES = ("sample.every=2", "sample.tokens=4")
# The job as it is, or with text samples; a watchdog that does not wait long.
SHORT = (*SAMPLES, f"run.watchdog={WATCHDOG_S}s")
ACTIONS = (  # row, action, ranks: a stopped process cannot end itself; code, lines that say why
    ("SIGSTOP in a phase", "stop", (2, 3), 69, 1),
    ("endless loop in a phase", "hang", (1, 2, 3), 69, 1),
    ("a rank leaves alone in a phase", "exit", (2, 3), 1, 0),
)


def phases():
    names = set()
    for path in glob.glob("src/base/*.c"):
        with open(path) as f:
            names |= set(re.findall(r'"(phase\.[a-z_]+)"', f.read()))
    return sorted(names - {"phase.off"})


def spots(ranks):
    """Where a rank can stop. Before the job has been read its watchdog waits for two minutes."""
    for phase in phases():
        for rank in range(ranks):
            for visit in (1, 2):
                if phase != "phase.job" or (ranks, visit) == (2, 1):
                    yield f"{phase}:{rank}:{visit}"


def in_phase(place, ranks, spec, code, lines):
    limit = UNREAD_S if spec.startswith("phase.job") else job.LIMIT_S

    def do(folder):
        env = {"CARAT_FAULT": spec, **place.shim_env(f"{folder}/run")}
        done = suffer(place, folder, ranks, env, KILLED, SHORT, SAMPLES, limit)
        if done is not None:
            judge.insist(done.code == code, f"exit {done.code}, not {code}")
            judge.insist(len(done.errors()) == lines, f"{len(done.errors())} lines, not {lines}")
        return 0 if done is None else 1
    return do


def phase_rows(place):
    for row, action, numbers, code, lines in ACTIONS:
        for ranks in numbers:
            for spot in spots(ranks):
                spec = f"{spot}:{action}"
                yield Case(row, f"{ranks} {spec}", in_phase(place, ranks, spec, code, lines))


def all_rows(place, n, seed):
    yield from random_rows(place, n, seed)
    yield from redone_rows(place)
    yield from phase_rows(place)
