"""Other ranks, other jobs, and bits that flipped: in files and in memory."""

import os
import random
import re
import shutil
import threading
import time

import job
import judge
from case import Case, suffer

RANKS = (1, 2, 3, 4, 6, 8)
MANY = ("train.steps=120", "checkpoint.every=30", "validate.every=60")


# ---- restart on another number of ranks ----

class Halves:
    """Runs that were stopped half-way, one for each number of ranks, made when first needed."""

    def __init__(self, place):
        self.place, self.lock, self.made = place, threading.Lock(), {}

    def get(self, ranks):
        with self.lock:
            if ranks not in self.made:
                self.made[ranks] = self._make(ranks)
            return self.made[ranks]

    def _make(self, ranks):
        run = f"{self.place.work}/half{ranks}"
        p = self.place.start(self.place.train(ranks, run, MANY), f"{run}.log")
        while p.poll() is None and not os.path.exists(f"{run}/checkpoints/latest"):
            time.sleep(0.002)
        with open(f"{run}/stop", "w"):
            pass
        done = self.place.wait(p, 2 * job.LIMIT_S)
        judge.insist(done.code == 75, f"stopping on {ranks} ranks: exit {done.code}")
        return run


def restarted(place, halves, before, after):
    def do(folder):
        run, log = f"{folder}/run", f"{folder}/log"
        shutil.copytree(halves.get(before), run)
        judge.check_going_on(place, after, run, log, place.reference(MANY), MANY)
        return 1
    return do


def restart_rows(place):
    halves = Halves(place)
    for before in RANKS:
        for after in RANKS:
            yield Case("restart on other ranks", f"{before} to {after}",
                       restarted(place, halves, before, after))


# ---- damaged files ----

FLIPS = 500  # tried by one process
CUTS = 16


def newest(run):
    names = [name for name in os.listdir(f"{run}/checkpoints") if re.fullmatch(r"step-\d+\.h5", name)]
    return f"{run}/checkpoints/{max(names)}"


def read_flips(done, n):
    """Each line a number and its verdict; a crash leaves the last without one."""
    verdicts = [s.split(" ", 1) for s in done.text.splitlines() if re.match(r"\d+ ", s)]
    lost = [s for s in verdicts if s[1] not in ("refused", "same")]
    judge.insist(not lost, f"{len(lost)} of {n}, the first: {' '.join(lost[0]) if lost else ''}")
    judge.insist(done.code == 0, f"ended with {done.code} at {' '.join(verdicts[-1:][0])}")
    judge.insist(len(verdicts) > 0 or "end" in done.text, "tried nothing")
    return len(verdicts)


def flipped(place, arguments, n):
    def do(folder):
        command = [place.flips, newest(place.reference()[0]), f"{place.memory}/"
                   f"{os.path.basename(folder)}.h5", *arguments]
        return read_flips(place.run(command, f"{folder}/log", limit=20 * job.LIMIT_S), n)
    return do


def flip_rows(place, n, seed):
    number = str(random.Random(seed).getrandbits(32))
    for first in range(0, 10 * n, FLIPS):
        some = min(FLIPS, 10 * n - first)
        yield Case("a bit flipped in a checkpoint", f"number {first} on",
                   flipped(place, ["bits", number, str(first), str(some)], some), some)
    size = os.path.getsize(newest(place.reference()[0]))
    for first in range(0, (size + 4095) // 4096, CUTS):
        yield Case("a checkpoint cut off (each 4 KiB)", f"from {4 * first} KiB on",
                   flipped(place, ["cuts", str(first), str(CUTS)], CUTS), CUTS)


def damage(path, draw):
    size = os.path.getsize(path)
    if draw.random() < 0.3:
        os.truncate(path, draw.randrange(size))
        return
    with open(path, "r+b") as f:
        for _ in range(draw.choice((1, 1, 64))):
            at = draw.randrange(size)
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ (1 << draw.randrange(8))]))


def with_damaged(place, ranks, name):
    def do(folder):
        run, log = f"{folder}/run", f"{folder}/log"
        shutil.copytree(place.reference()[0], run)
        path = newest(run)
        damage(path, random.Random(name))
        whole = place.run([place.carat, "verify", path], log).code == 0
        done = judge.check_going_on(place, ranks, run, log, place.reference(),
                                    allowed=r"\.damaged$")
        said = os.path.basename(path) in done.text and "passed over" in done.text
        judge.insist(said != whole, "the damaged file is not named")
        return 1
    return do


def damage_rows(place, n, seed):
    for i in range(min(n, 50)):
        ranks = 1 + i % 2
        yield Case("the newest checkpoint damaged", f"{ranks} ranks, number {i}",
                   with_damaged(place, ranks, f"{seed}/{i}/damage"))


# ---- replicas ----

def with_flipped_replica(place, ranks, rank, step):
    keys = ("parallel.share_params=off",)

    def do(folder):
        env = {"CARAT_FAULT": f"replica.flip:{rank}:{step}", **place.shim_env(f"{folder}/run")}
        done = suffer(place, folder, ranks, env, (69,), keys)
        judge.insist(re.search(r"rank", " ".join(done.errors())), "no rank is named")
        return 1
    return do


def replica_rows(place, n, seed):
    draw = random.Random(f"{seed}/replicas")
    for i in range(max(1, n // 10)):
        ranks = draw.choice((2, 3, 4))
        rank, step = draw.randrange(ranks), draw.randrange(1, 4)
        yield Case("a bit flipped in one replica", f"{ranks} ranks, {rank} in step {step}, number {i}",
                   with_flipped_replica(place, ranks, rank, step))


# ---- two jobs, one folder ----

def race(place, ranks, name):
    def do(folder):
        run, draw = f"{folder}/run", random.Random(name)
        reference, first = place.reference(MANY), draw.random() * 0.1
        p = place.start(place.train(ranks[0], run, MANY), f"{folder}/log1")
        time.sleep(first)
        q = place.start(place.train(ranks[1], run, MANY), f"{folder}/log2")
        ends = [place.wait(p, 2 * job.LIMIT_S), place.wait(q, 2 * job.LIMIT_S)]
        for end in ends:
            judge.check_ended(end, (0, 78))
        codes = sorted(end.code for end in ends)
        judge.insist(codes[0] == 0, "neither job ran")
        loser = [end for end in ends if end.code == 78]
        judge.insist(all("in use" in end.text for end in loser), "who has the folder is not said")
        judge.check_end(place, run, f"{folder}/log1", reference)
        return 1 if loser else 0
    return do


def race_rows(place, n, seed):
    for i in range(max(1, n // 20)):
        ranks = [random.Random(f"{seed}/{i}/ranks").choice((1, 2)) for _ in range(2)]
        yield Case("two jobs on one folder", f"{ranks[0]} and {ranks[1]} ranks, number {i}",
                   race(place, ranks, f"{seed}/{i}/race"))


def all_rows(place, n, seed):
    yield from restart_rows(place)
    yield from flip_rows(place, n, seed)
    yield from damage_rows(place, n, seed)
    yield from replica_rows(place, n, seed)
    yield from race_rows(place, n, seed)
