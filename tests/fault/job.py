"""The tiny job that faults happen to, and running it."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time

import judge

LIMIT_S = 30  # by then a run that suffers a fault has ended by itself
JOB = """\
data: {{train: {work}/tokens.h5, boundary: attention}}
model: {{preset: gemma3-nano, width: 16, layers: 1, heads: 2, kv_heads: 1, head_dim: 8, ffn: 24,
        window: 9, window_pattern: 2}}
batch: {{global: 8, micro: 1, seq_len: 17}}
train: {{steps: 3, log_every: 1}}
optimizer: {{lr: 3e-3}}
schedule: {{warmup: 2 steps}}
checkpoint: {{every: 2, keep: 2}}
validate: {{every: 2, samples: 4}}
"""
LONG = ("train.steps=40", "checkpoint.every=3", "validate.every=10")  # leaves time for faults


class Ended:
    """How a command ended."""

    def __init__(self, code, seconds, hung, text):
        self.code, self.seconds, self.hung, self.text = code, seconds, hung, text

    def errors(self):
        """carat's own error lines; a watchdog's stack belongs to the line before it."""
        return [s for s in self.text.splitlines() if s.startswith("carat: ")
                and not s.startswith(("carat: warning", "carat: its main thread is at"))]


def session_of(pid):
    """Processes whose session that is, zombies not."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as f:
                state, _, _, session = f.read().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == pid and state != "Z":
            found.append(int(name))
    return found


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Place:
    """A temporary folder with the job, its tokens, and what its runs share."""

    def __init__(self, work, carat, tools):
        """Works with copies of the programs: they may be built anew meanwhile."""
        self.work = work
        self.carat, self.shim, self.flips = [
            shutil.copy(path, work) for path in (carat, f"{tools}/shim.so", f"{tools}/flips")]
        self.memory = f"/dev/shm/{os.path.basename(work)}" if os.path.isdir("/dev/shm") else work
        self.env = self._environment()
        for folder in (self.memory, f"{work}/tmp"):
            os.makedirs(folder, exist_ok=True)
        with open(f"{work}/job.yaml", "w") as f:
            f.write(JOB.format(work=work))
        self._make_tokens()
        self.references, self.lock = {}, threading.Lock()
        self.launcher_hangs = 0

    def close(self):
        shutil.rmtree(self.memory, ignore_errors=True)

    def _environment(self):
        """What killed ranks leave in shared memory and in TMPDIR goes with the folders. Ranks of
        several runs at once must not be bound to the same processors."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("FAULT_", "CARAT_FAULT", "SLURM_"))}
        env.update(TMPDIR=f"{self.work}/tmp", OMPI_MCA_hwloc_base_binding_policy="none",
                   OMPI_MCA_btl_vader_backing_directory=self.memory,
                   OMPI_MCA_osc_sm_backing_directory=self.memory, OMP_NUM_THREADS="1",
                   OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_mpi_yield_when_idle="1",
                   OMPI_MCA_btl_vader_single_copy_mechanism="none")
        return env

    def _make_tokens(self):
        words, draw = [], random.Random(1)
        for _ in range(60):
            words.append("".join(draw.choice("abcdefghij") for _ in range(draw.randint(2, 7))))
        with open(f"{self.work}/text.txt", "w") as f:
            for _ in range(1500):
                f.write(" ".join(draw.choice(words) for _ in range(8)) + "\n")
        done = subprocess.run([self.carat, "prepare", f"{self.work}/text.txt", "-o",
                               f"{self.work}/tokens.h5", "--train-tokenizer", "320"],
                              env=self.env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"cannot prepare the tokens: {done.stderr}")

    # ---- commands ----

    def train(self, ranks, run, keys=()):
        command = [self.carat, "train", f"{self.work}/job.yaml", f"run.dir={run}", *keys]
        return command if ranks == 1 else ["mpirun", "-n", str(ranks), *command]

    def shim_env(self, run, spec=""):
        """For a run that is watched, and where spec names one, suffers a fault."""
        return {"FAULT_DIR": run, "FAULT_LOG": f"{run}.calls", "FAULT_SPEC": spec,
                "LD_PRELOAD": self.shim}

    def start(self, command, log, env=None):
        out = open(log, "a")
        out.write("$ " + " ".join([f"{k}={v}" for k, v in (env or {}).items()] + command) + "\n")
        out.flush()
        p = subprocess.Popen(command, env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL,
                             stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        p.log, p.begun, p.log_from = log, time.monotonic(), out.tell()
        out.close()
        return p

    def wait(self, p, limit=LIMIT_S):
        """Until the command and all that it started have ended; what has not by then is killed."""
        hung = False
        try:
            p.wait(max(0.1, limit - (time.monotonic() - p.begun)))
        except subprocess.TimeoutExpired:
            hung = True
        while not hung and session_of(p.pid):
            hung = time.monotonic() - p.begun > limit
            time.sleep(0.02)
        if hung:
            left = session_of(p.pid)
            # Where a rank died while it connected, Open MPI 4.1's mpirun may wait for a lock of its
            # own for ever, with all ranks ended (PMIx_server_finalize).
            if left == [p.pid] and p.args[0] == "mpirun":
                hung = False
                self.launcher_hangs += 1
            kill_all(left)
            p.wait()
        with open(p.log, errors="replace") as f:
            f.seek(p.log_from)
            text = f.read()
        return Ended(p.returncode, time.monotonic() - p.begun, hung, text)

    def run(self, command, log, env=None, limit=LIMIT_S):
        return self.wait(self.start(command, log, env), limit)

    # ---- what an uninterrupted run gives ----

    def reference(self, keys=()):
        """A run folder, and its rows by step. Any number of ranks gives the same."""
        with self.lock:
            if keys not in self.references:
                self.references[keys] = self._uninterrupted(keys)
            return self.references[keys]

    def _uninterrupted(self, keys):
        run = f"{self.work}/reference{len(self.references)}"
        done = self.run(self.train(1, run, keys), f"{run}.log")
        if done.code != 0:
            raise SystemExit(f"the job does not run without a fault:\n{done.text}")
        rows = self.rows(run, f"{run}.log")
        if judge.shown_steps(run) != set(rows):
            raise SystemExit(f"{run}: its rows are not the steps that it shows")
        return run, rows

    def rows(self, run, log):
        """The metrics' rows, the columns that do not tell of time or attempt; {} without any."""
        same = ("loss", "accuracy", "lr", "grad_norm", "clip", "valid_loss")
        with open(log, "a") as out:
            done = subprocess.run([self.carat, "inspect", run, "--csv"], env=self.env, text=True,
                                  stdout=subprocess.PIPE, stderr=out, check=False)
        lines = [s.split(",") for s in done.stdout.splitlines()]
        if done.returncode != 0 or not lines:
            return {}
        at = [lines[0].index(name) for name in same]
        return {int(s[0]): [s[i] for i in at] for s in lines[1:]}
