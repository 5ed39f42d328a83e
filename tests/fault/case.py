"""One case of the table, and what most of them do."""

import job
import judge

KILLED = None  # any exit code: mpirun's, a signal's


class Case:
    """do(folder) raises judge.Lost, or returns how many faults really happened, `weight` at most.
    A case that raises counts as `weight`."""

    def __init__(self, row, name, do, weight=1):
        self.row, self.name, self.do, self.weight = row, f"{row}: {name}", do, weight


def suffer(place, folder, ranks, env, codes, keys=(), later=None, limit=job.LIMIT_S):
    """A run that suffers a fault; what it must have kept; and the same command again, without the
    fault (and with the keys `later`), to the bits of the uninterrupted run. Returns how it ended,
    or None when it was not interrupted at all."""
    run, log = f"{folder}/run", f"{folder}/log"
    later = keys if later is None else later
    reference = place.reference(later)
    done = place.run(place.train(ranks, run, keys), log, env, limit)
    if done.code == 0 and codes is KILLED:
        return None
    judge.check_ended(done, codes)
    if done.code == 0:
        judge.check_same(place, run, log, reference)
        if not judge.leftovers(run):
            return done
    # Where nothing could be removed any more, the next start does it.
    judge.check_kept(place, run, log, reference)
    judge.check_going_on(place, ranks, run, log, reference, later)
    return done
