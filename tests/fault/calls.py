"""Faults at the n-th call of the system, and where there is no memory or no space."""

import concurrent.futures
import os
import shutil

import judge
from case import KILLED, Case, suffer

# A transient fault may be survived at once; else the run ends with an I/O error and says so.
IO_CODES = (0, 74)
MEMORY_CODES = (0, 71)
EVERY = ("write", "open", "close", "sync", "alloc", "rename", "link", "unlink")
AT_CALLS = (  # row, numbers of ranks, classes of calls, action, exit codes
    ("SIGKILL before a call, 1 rank", (1,), EVERY, "kill", KILLED),
    ("SIGKILL before a call, 2 ranks", (2,), EVERY, "kill", KILLED),
    ("SIGKILL before a call, 4 ranks", (4,), EVERY, "kill", KILLED),
    ("no space (ENOSPC), once", (1, 2), ("write", "open", "alloc", "sync"), "ENOSPC", IO_CODES),
    ("no space from then on", (1, 2), ("write", "open", "alloc", "sync"), "ENOSPC+", IO_CODES),
    ("I/O error (EIO), once", (1, 2), ("write", "open", "alloc"), "EIO", IO_CODES),
    ("read-only (EROFS) from then on", (1, 2), ("write", "open", "alloc", "rename", "link",
                                                "unlink"), "EROFS+", IO_CODES),
    ("short write", (1, 2), ("write",), "short", IO_CODES),
    ("interrupted call (EINTR)", (1, 2), ("write", "open", "close", "sync", "alloc"), "EINTR",
     IO_CODES),
    ("failed fsync", (1, 2), ("sync",), "EIO", IO_CODES),
    ("failed close", (1, 2), ("close",), "EIO", IO_CODES),
    ("failed rename, link or unlink", (1, 2), ("rename", "link", "unlink"), "EIO", IO_CODES),
)


def at_call(place, ranks, spec, codes):
    def do(folder):
        env = place.shim_env(f"{folder}/run", spec)
        return 0 if suffer(place, folder, ranks, env, codes) is None else 1
    return do


def numbers(run):
    """How many calls of each class each rank made in a run that was only watched, by its log."""
    most = {}
    with open(f"{run}.calls") as f:
        for line in f:
            rank, kind, number = line.split(" ")[:3]
            key = (int(rank), kind)
            most[key] = max(most.get(key, 0), int(number))
    return sorted(most.items())


def calls(place, ranks):
    run = f"{place.work}/count{ranks}"
    done = place.run(place.train(ranks, run), f"{run}.log", place.shim_env(run))
    if done.code != 0 or len(judge.published(run)) != 2:
        raise SystemExit(f"the job does not run under the shim:\n{done.text}")
    return numbers(run)


def call_rows(place):
    place.reference()  # and with it Open MPI's folder, which two at once cannot make
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        seen = dict(zip((1, 2, 4), pool.map(lambda n: calls(place, n), (1, 2, 4))))
    for row, ranks, classes, action, codes in AT_CALLS:
        for n in ranks:
            for (rank, kind), most in seen[n]:
                for number in range(1, most + 1 if kind in classes else 0):
                    spec = f"{kind}:{rank}:{number}:{action}"
                    yield Case(row, f"{n} {spec}", at_call(place, n, spec, codes))


# ---- no memory ----

def allocations(place, ranks, rank):
    """How many a rank makes, by where it can be killed."""
    def reached(n):
        run = f"{place.work}/memory{ranks}-{rank}-{n}"
        done = place.run(place.train(ranks, run), f"{run}.log",
                         {"CARAT_FAULT": f"mem:{rank}:{n}:kill"})
        return done.code != 0
    least, most = 0, 64
    while reached(most):
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if reached(middle) else (least, middle)
    return least


def without_memory(place, ranks, spec):
    def do(folder):
        return 0 if suffer(place, folder, ranks, {"CARAT_FAULT": spec}, MEMORY_CODES) is None else 1
    return do


def memory_rows(place):
    who = ((1, 0), (2, 0), (2, 1))
    with concurrent.futures.ThreadPoolExecutor(len(who)) as pool:
        numbers = list(pool.map(lambda at: allocations(place, *at), who))
    for (ranks, rank), most in zip(who, numbers):
        for number in range(1, most + 1):
            spec = f"mem:{rank}:{number}:fail"
            yield Case("no memory at an allocation", f"{ranks} {spec}",
                       without_memory(place, ranks, spec))


# ---- a full disk ----

MOUNT = """mount -t tmpfs -o size="$1"k none "$2" || exit 99; out=$3; run=$2; shift 3
"$@"; rc=$?; cp -a "$run/." "$out"; exit $rc"""


def can_mount(place):
    done = place.run(["unshare", "-m", "true"], f"{place.work}/unshare.log") \
        if shutil.which("unshare") else None
    return done is not None and done.code == 0


def on_small_disk(place, ranks, kib):
    def do(folder):
        run, log = f"{folder}/run", f"{folder}/log"
        os.makedirs(run)
        os.makedirs(f"{folder}/out")
        reference = place.reference()
        done = place.run(["unshare", "-m", "bash", "-c", MOUNT, "bash", str(kib), run,
                          f"{folder}/out", *place.train(ranks, run)], log)
        judge.check_ended(done, IO_CODES)
        os.rmdir(run)
        os.rename(f"{folder}/out", run)
        judge.check_kept(place, run, log, reference)
        judge.check_going_on(place, ranks, run, log, reference)
        return 1
    return do


def disk_rows(place):
    if not can_mount(place):
        print("SKIP: a full disk: no rights to mount a small file system")
        return
    for ranks in (1, 2):
        for kib in range(32, 1056, 32):
            yield Case("a full disk (tmpfs)", f"{ranks} ranks, {kib} KiB",
                       on_small_disk(place, ranks, kib))


def all_rows(place, only):
    yield from call_rows(place)
    if only == "" or "mem" in only:  # counting takes a while
        yield from memory_rows(place)
    yield from disk_rows(place)
