"""Whether a run that suffered a fault kept what it had acknowledged, and goes on to the same end."""

import os
import re


class Lost(Exception):
    """What a fault broke, in one line."""


def insist(holds, what):
    if not holds:
        raise Lost(what)


def shown_steps(run):
    """Steps that a person has seen in the log: their rows were written before."""
    try:
        with open(f"{run}/log.txt", errors="replace") as f:
            return {int(m[1]) for m in re.finditer(r"^\S+ step +(\d+)/", f.read(), re.M)}
    except FileNotFoundError:
        return set()


def published(run):
    """Checkpoints whose rename and whose folder's fsync returned success, and that were not removed
    since, by the shim's log."""
    renamed, kept, going = {}, set(), set()
    try:
        with open(f"{run}.calls", errors="replace") as f:
            calls = [s.rstrip("\n").split(" ") for s in f]
    except FileNotFoundError:
        return kept
    for call in (c for c in calls if len(c) == 7):
        kind, number, result, path, other = call[1], call[2], call[3], call[5], call[6]
        if kind == "unlink" and number == "0" and path in kept:
            going.add(path)
        elif kind == "unlink" and path in going:
            going.discard(path)
            if result != "0":
                kept.add(path)
        if result != "0":
            continue
        if kind == "rename" and re.search(r"/step-\d+\.h5$", other):
            renamed[os.path.dirname(other)] = other
        if kind == "sync" and path in renamed:
            kept.add(renamed.pop(path))
        if kind in ("unlink", "rename"):
            kept.discard(path)
    return kept


def check_ended(done, codes):
    insist(not done.hung, f"did not end by itself in {done.seconds:.0f} s")
    insist(codes is None or done.code in codes, f"exit {done.code}")
    errors = done.errors()
    insist(len(errors) <= 1, f"{len(errors)} error lines: {' | '.join(errors)}")


def check_rows(place, run, log, reference, steps):
    rows = place.rows(run, log)
    for step in sorted(steps):
        insist(step in rows, f"the row of step {step} is lost")
    for step, row in rows.items():  # the last column comes with the validation, later
        insist(row[:-1] == reference[step][:-1], f"the row of step {step} is another")


def check_files(place, run, log):
    for path in sorted(published(run)):
        insist(os.path.exists(path), f"{path} was published and is gone")
    files = [f"{run}/checkpoints/{name}" for name in sorted(os.listdir(f"{run}/checkpoints"))
             if re.fullmatch(r"step-\d+\.h5", name)] if os.path.isdir(f"{run}/checkpoints") else []
    if files:
        done = place.run([place.carat, "verify", *files], log)
        insist(done.code == 0, f"carat verify: {' | '.join(done.errors())}")


def check_kept(place, run, log, reference):
    """After a fault: all that was acknowledged is there."""
    check_rows(place, run, log, reference[1], shown_steps(run))
    check_files(place, run, log)


def leftovers(run, allowed=""):
    """What no finished run has in its folder."""
    odd = re.compile(r"\.tmp|\.stale|locktest|^lock$|^FAILED$|^STOPPED$|\.damaged|^stop$|^save$")
    return [name for _, _, names in os.walk(run) for name in names
            if odd.search(name) and not (allowed and re.search(allowed, name))]


def check_same(place, run, log, reference):
    """A finished run: the reference's bits and rows."""
    done = place.run([place.carat, "diff", reference[0], run], log)
    insist(done.code == 0, f"carat diff: exit {done.code}: other bits than the uninterrupted run's")
    insist(place.rows(run, log) == reference[1], "other rows than the uninterrupted run's")


def check_end(place, run, log, reference, allowed=""):
    """The same, and nothing else in the folder."""
    check_same(place, run, log, reference)
    insist(not leftovers(run, allowed), f"left behind: {' '.join(leftovers(run, allowed))}")


def check_going_on(place, ranks, run, log, reference, keys=(), allowed=""):
    """The same command again, without a fault."""
    done = place.run(place.train(ranks, run, keys), log)
    insist(not done.hung, f"going on did not end in {done.seconds:.0f} s")
    insist(done.code == 0, f"going on: exit {done.code}: {' | '.join(done.errors())}")
    check_end(place, run, log, reference, allowed)
    return done
