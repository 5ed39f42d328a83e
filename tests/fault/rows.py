"""The rows of the table, in its order."""

import random

import calls
import folders
import moments
import resumes

ALL = 1000  # from here on nothing is left out


def all_rows(place, n, seed, only=""):
    """Cases by row; where n is less than ALL, at most n cases of each row, drawn by the seed. Of
    these, those whose names hold `only`."""
    rows = {}
    for some in (calls.all_rows(place, only), resumes.all_rows(place),
                 moments.all_rows(place, n, seed), folders.all_rows(place, n, seed)):
        for case in some:
            rows.setdefault(case.row, []).append(case)
    for row, cases in rows.items():
        if n < ALL and len(cases) > n:
            rows[row] = random.Random(f"{seed}/{row}").sample(cases, n)
    return {row: [case for case in cases if only in case.name] for row, cases in rows.items()}
