"""The best of 50 searches by Optuna's TPESampler on each function of samplers.c: a line a function.
Exits 77 when there is no Optuna."""
import math
import sys

try:
    import optuna
except ImportError:
    sys.exit(77)
optuna.logging.set_verbosity(optuna.logging.ERROR)

HARTMANN_A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8],
              [17, 8, 0.05, 10, 0.1, 14]]
HARTMANN_P = [[0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
              [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
              [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
              [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381]]


def numbers(trial, n):
    return [trial.suggest_float(f"x{i}", 0, 1) for i in range(n)]


def branin(trial):
    u, v = numbers(trial, 2)
    x, y = 15 * u - 5, 15 * v
    b = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return b * b + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann6(trial):
    x = numbers(trial, 6)
    return -sum(c * math.exp(-sum(a * (v - p)**2 for a, v, p in zip(ra, x, rp)))
                for c, ra, rp in zip([1, 1.2, 3, 3.2], HARTMANN_A, HARTMANN_P))


def rosenbrock4(trial):
    x = [4 * v - 2 for v in numbers(trial, 4)]
    return sum(100 * (b - a * a)**2 + (1 - a)**2 for a, b in zip(x, x[1:]))


def mixed(trial):
    x = trial.suggest_float("x", 0, 1)
    n = trial.suggest_int("n", 1, 12)
    kind = trial.suggest_categorical("kind", [0, 1, 2])
    rest = [0, 0.05, 0.1][kind]
    if kind == 0:
        rest += (trial.suggest_float("y", 0, 1) - 0.7)**2
    return (x - 0.3)**2 + (n - 5)**2 / 50 + rest


for objective, n_trials in [(branin, 60), (hartmann6, 100), (rosenbrock4, 100), (mixed, 60)]:
    best = []
    for seed in range(50):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(objective, n_trials=n_trials)
        best.append(study.best_value)
    print(" ".join(f"{v:.17g}" for v in best), flush=True)
