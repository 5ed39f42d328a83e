#!/usr/bin/env bash
# timeout: 300
# Schedules from the command line: the curve of every rule, errors and warnings, and training by those
# that carry numbers or set the momentum.
set -u
cd "$(dirname "$0")/../.." || exit 1
carat=${CARAT:-$PWD/carat}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
n=0 failures=0
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT

fail() { # WHAT
    failures=$((failures + 1))
    echo "FAILED: $1"
    tail -n 15 "$dir/out" "$dir/err" | sed 's/^/    /'
}
ends() { # CODE COMMAND...: with its output in $dir/out and $dir/err
    local want=$1 rc; shift
    n=$((n + 1))
    "$@" </dev/null >"$dir/out" 2>"$dir/err"; rc=$?
    [ $rc -eq "$want" ] || fail "$*: exit $rc, not $want"
}
has() { # FILE PATTERN
    n=$((n + 1)); grep -qE -- "$2" "$dir/$1" || fail "no \"$2\" in $1"
}
hasnt() { # FILE PATTERN
    n=$((n + 1)); ! grep -qE -- "$2" "$dir/$1" || fail "\"$2\" in $1"
}
plan() { timeout 60 "$carat" plan "$dir/job.yaml" "$@"; }

# 100 steps of 512 tokens; the peak is 1.
cat >"$dir/job.yaml" <<END
model: {preset: gemma3-nano, vocab: 512}
data.train: none.h5
batch: {global: 8, micro: 2, seq_len: 64}
train.steps: 100
optimizer.lr: 1
schedule.warmup: 0
END

# curve RULE 'STEP RATE STEP RATE ...' key=value...: every rate is above 0 and at most 1, and those of
# some steps, counted from 1, are as the closed form has them.
curve() {
    local rule=$1 want=$2; shift 2
    ends 0 plan --lr-curve schedule.name="$rule" "$@"
    n=$((n + 1))
    awk -F, -v want="$want" 'BEGIN { k = split(want, w, " ") }
        NR == 1 { if ($0 != "step,tokens,lr") bad = "header"; next }
        $1 != NR - 1 || $2 != 512 * $1 || !($3 > 0 && $3 <= 1) { bad = $0 }
        { rate[$1] = $3 }
        END {
            if (NR != 101) bad = NR " lines"
            for (i = 1; i < k; i += 2)
                if ((d = rate[w[i]] - w[i + 1]) > 1e-9 || d < -1e-9)
                    bad = "step " w[i] ": " rate[w[i]] ", not " w[i + 1]
            if (bad != "") print "    " bad
            exit bad != "" }' "$dir/out" || fail "the curve of $rule"
}
curve constant '1 1 100 1'
curve step '1 1 50 1 51 0.5' schedule.gamma=0.5 schedule.every=50%
curve multi_step '50 1 51 0.5 80 0.5 81 0.25' schedule.gamma=0.5 schedule.milestones='50%, 80 steps'
curve exponential '1 1 31 0.1 61 0.01'
curve polynomial '1 1 51 0.25' schedule.power=2 schedule.final=0
curve linear '1 1 51 0.55'
curve cosine '1 1 51 0.55 26 0.868198051534'
curve restarts '1 1 11 0.55 21 1 41 0.55 61 1' schedule.cycle='20 steps' schedule.cycle_mult=2
curve sgdr '1 1 6 0.55 11 1 91 1'
curve cyclical '1 0.25 6 1 11 0.25 16 1 3 0.55'
curve triangular2 '1 0.25 6 1 11 0.25 16 0.625 26 0.4375'
curve cyclical_exp '1 0.25 6 0.625 16 0.34375' schedule.gamma=0.5 schedule.every=5steps
curve one_cycle '1 0.04 30 1 100 0.000004'
curve onecycle '1 0.04 40 1 79 0.04 100 0.01' schedule.phases=3 schedule.rise=0.4 schedule.final=0.01
curve inverse_sqrt '1 0.25 4 1 17 0.5' schedule.warmup='4 steps'
curve power '4 1 17 0.493116352' schedule.warmup='4 steps'
curve wsd '80 1 81 1 86 0.5 91 0.292893219' schedule.decay=20%
curve warmup_stable_decay '91 0.75 96 0.4375' schedule.decay=20% schedule.decay_shape=square
curve reduce_on_plateau '1 1 100 1'
curve piecewise '20 1 21 1 41 0.65 61 0.3 71 0.212132034 81 0.15' \
    schedule.pieces='constant 20 steps, cosine 40% final=0.3, exponential gamma=0.5 every=50%'

# The clock and the amounts: an epoch has no length without data.
curve step '40 1 41 0.5' schedule.gamma=0.5 schedule.every=20480tok schedule.clock=steps
curve step '40 1 41 0.5' schedule.gamma=0.5 schedule.every='320 samples' schedule.clock=samples
ends 65 plan schedule.name=step schedule.every=1epoch; has err 'schedule.every is in epochs'

# Warmups
curve constant '1 0.25 4 0.25 5 1' schedule.warmup='4 steps' schedule.warmup_shape=constant \
    schedule.warmup_start=0.25
curve constant '1 0.2 3 0.6 5 1' schedule.warmup='4 steps' schedule.warmup_shape=gradual \
    schedule.warmup_start=0.2
curve constant '1 0.048770575499 20 0.632120558829' schedule.warmup='4 steps' \
    schedule.warmup_shape=exponential optimizer.beta2=0.95
curve constant '1 1' schedule.warmup=10% schedule.warmup_shape=none

# Refused, with the key and the fix.
refused() { # PATTERN key=value...
    local says=$1; shift
    ends 78 plan "$@"; has err "^carat: .*$says"
}
refused 'schedule.name: .*did you mean "cosine"' schedule.name=cosin
refused 'schedule.warmup, 200 steps, is longer .*train.steps' schedule.warmup=200
refused 'schedule.warmup: -5 is below 0; give 0 or more' schedule.warmup=-5
refused 'schedule.cycle is 0.*set it' schedule.name=restarts schedule.cycle=0
refused 'schedule.milestones: 50% does not come after' schedule.name=multi_step \
    schedule.milestones='75% 50%'
refused 'schedule.final is -0.5: ' schedule.final=-0.5
refused 'schedule.gamma: 2 is out of range' schedule.gamma=2
refused 'schedule.pieces, piece 2: .*shorten' schedule.name=piecewise \
    schedule.pieces='constant 80%, linear 30%'
refused 'schedule.warmup_shape: "lin" is not one of' schedule.warmup_shape=lin

# Warned of
warned() { # PATTERN key=value...
    local says=$1; shift
    ends 0 plan --lr-curve "$@"; has err "^carat: warning: .*$says"
}
warned 'at 10 of 100 steps, from step 91 to 100: .*schedule.gamma' schedule.name=step \
    schedule.gamma=1e-3 schedule.every=30steps
warned 'at 50 of 100 steps, from step 51 to 100: .*schedule.pieces' schedule.name=piecewise \
    schedule.pieces='linear 50% final=0, constant'
warned 'at 5 of 100 steps, from step 1 to 5: .*schedule.warmup_start' schedule.warmup=5 \
    schedule.warmup_shape=constant schedule.warmup_start=0
warned 'schedule.cycle is 1 steps: ' schedule.name=restarts schedule.cycle=1
warned 'schedule.gamma=0.5 is set, and schedule.name cosine does not read it' schedule.gamma=0.5
warned 'milestones: 200 steps is not before the end' schedule.name=multi_step \
    schedule.milestones='50% 200 steps'
ends 0 plan --lr-curve schedule.final=0 schedule.name=linear; hasnt err warning

# What is said
ends 0 plan --gflops 1 schedule.name=piecewise schedule.warmup=5% \
    schedule.pieces='constant 50%, cosine'
has out '^warmup +linear over 5 steps = 2560 tokens$'
has out '^schedule +piecewise over 100 steps = 51200 tokens$'
has out '^  from step 1 +constant, 1.000e\+00 to 1.000e\+00$'
has out '^  from step 51 +cosine, 1.000e\+00 to 1.000e-01: final 0.1$'
has out '^first, last +2.000e-01, 1.00[0-9]e-01$'
has out '^curve +[^ ]+$'
ends 0 plan --gflops 1 schedule.name=one_cycle schedule.warmup=5%
has out '^warmup +none: one_cycle rises by itself$'
ends 0 plan --gflops 1 schedule.name=step schedule.clock=samples
has out '^schedule +step over 100 steps = 800 samples: gamma 0.1, every 30%$'
ends 0 "$carat" help schedules
has out '^warmup_stable_decay .*; also: wsd$'
has out '^ +reads decay 20%, decay_shape sqrt, final 0$'
has out '^ +reads rise 0.3, base 0.04, final 4e-06, '
n=$((n + 1)); [ "$(wc -L <"$dir/out")" -le 100 ] || fail "help schedules is too wide"
for job in jobs/*.yaml; do
    ends 0 timeout 60 "$carat" plan "$job" --gflops 1 --ranks 512 --ranks-per-node 8 \
        --memory 4TiB
    hasnt err warning
done

# Training: the plateau's numbers are in the checkpoint, and decide alike on any number of ranks. A
# loss would have to fall by 90% to be better, so that each validation but the first lowers the rate.
ends 0 timeout 60 "$carat" prepare src -o "$dir/tokens.h5" --train-tokenizer 400
cat >"$dir/train.yaml" <<END
data: {train: $dir/tokens.h5}
model: {preset: gemma3-nano, width: 40, layers: 2, heads: 4, kv_heads: 2, head_dim: 12, ffn: 72}
batch: {global: 6, micro: 2, seq_len: 33}
train: {steps: 10}
optimizer: {lr: 3e-3}
schedule: {name: reduce_on_plateau, warmup: 1, factor: 0.5, patience: 0, threshold: 0.9}
checkpoint: {every: 4}
validate: {every: 2, samples: 4}
END
train() { # RANKS RUN key=value...
    local ranks=$1 run=$2; shift 2
    timeout 60 mpirun -n "$ranks" "$carat" train "$dir/train.yaml" run.dir="$dir/$run" "$@"
}
ends 0 train 1 whole
has out '^plateau .*the rate is now 0.0625 of'
rates=$("$carat" inspect "$dir/whole" --csv 2>/dev/null |
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "lr") at = i; next } { printf "%g ", $at }')
n=$((n + 1))
[ "$rates" = "0.003 0.003 0.003 0.003 0.0015 0.0015 0.00075 0.00075 0.000375 0.000375 " ] ||
    fail "rates: $rates"
for ranks in 2 3; do
    ends 0 train $ranks "r$ranks"
    ends 0 "$carat" diff "$dir/whole" "$dir/r$ranks"
done
# Cut at 7, where the last step is validated once more, and which tells the plateau nothing.
ends 0 train 2 cut train.steps=7
ends 0 train 3 cut
has out '^resumed .*step 7 of 10'
ends 0 "$carat" diff "$dir/whole" "$dir/cut"
ends 78 train 2 never validate.every=0
has err 'set validate.every'

# The momentum of one_cycle reaches the optimizer.
cycle="schedule.name=one_cycle schedule.warmup=0"
# shellcheck disable=SC2086
for ranks in 1 3; do ends 0 train $ranks "cycle$ranks" $cycle; done
ends 0 "$carat" diff "$dir/cycle1" "$dir/cycle3"
# shellcheck disable=SC2086
ends 0 train 1 kept $cycle schedule.momentum_low=0.9 schedule.momentum_high=0.9
ends 1 "$carat" diff "$dir/cycle1" "$dir/kept"

echo "$((100 * (n - failures) / n))%: Checks: $n, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
