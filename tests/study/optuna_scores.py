"""Scores of candidates by Optuna's estimators. Each case on standard input is three lines:
kind low high choices n m, then n times "step value x" (x nan: not set), then m candidates; the
answer is a line of m scores. Exits 77 when there is no Optuna whose densities are known."""
import sys
import warnings

try:
    import numpy as np
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers._tpe import parzen_estimator as parzen
    from optuna.samplers._tpe import sampler
except ImportError:
    sys.exit(77)
if not optuna.__version__.startswith("3.1."):
    sys.exit(77)  # later ones divide by the width of a kernel
warnings.simplefilter("ignore")


class Stable:
    """numpy with ties in the order of age, which its own sort leaves open."""

    def __getattr__(self, name):
        return getattr(np, name)

    def argsort(self, a):
        return np.argsort(a, kind="stable")


parzen.np = Stable()
MAKE = {
    "float": lambda lo, hi, k: FloatDistribution(lo, hi),
    "log": lambda lo, hi, k: FloatDistribution(lo, hi, log=True),
    "int": lambda lo, hi, k: IntDistribution(int(lo), int(hi)),
    "intlog": lambda lo, hi, k: IntDistribution(int(lo), int(hi), log=True),
    "choice": lambda lo, hi, k: CategoricalDistribution(list(range(k))),
}
PARAMETERS = parzen._ParzenEstimatorParameters(
    True, 1.0, True, False, sampler.default_weights, False)

lines = iter(sys.stdin.read().splitlines())
for head in lines:
    kind, low, high, k, n, m = head.split()
    seen = np.array([float(v) for v in next(lines).split()]).reshape(int(n), 3)
    candidates = np.array([float(v) for v in next(lines).split()])
    space = {"x": MAKE[kind](float(low), float(high), int(k))}
    pairs = [(step, [value]) for step, value, _ in seen]
    ended = int(np.sum(seen[:, 0] < np.inf))
    below, above = sampler._split_observation_pairs(pairs, sampler.default_gamma(ended), None)
    x = seen[:, 2]
    if kind == "choice":
        candidates = candidates.astype(int)
    logs = []
    for part in (below, above):
        own = x[part][~np.isnan(x[part])]
        logs.append(parzen._ParzenEstimator({"x": own}, space, PARAMETERS).log_pdf({"x": candidates}))
    print(" ".join(f"{v:.17g}" for v in logs[0] - logs[1]), flush=True)
