#!/usr/bin/env bash
# timeout: 120
# Studies of how the rate follows the batch: branches from a run's checkpoints and the ramp that
# follows, scaling rules against tuned rates, the law of past studies, the rate by branches on the
# way, shapes at equal FLOPs. The same figures whatever the workers.
set -u
cd "$(dirname "$0")/../.." || exit 1
carat=${CARAT:-$PWD/carat}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
checks=0 failures=0

ends() { # CODE WHAT COMMAND...
    local code=$1 what=$2 rc; shift 2
    checks=$((checks + 1))
    "$@" >"$work/out" 2>&1; rc=$?
    [ $rc -eq "$code" ] && return
    failures=$((failures + 1)); echo "FAILED: $what: exit $rc instead of $code: $*"; tail -n 15 "$work/out"
}
says() { # PATTERN: the last command's output holds it
    checks=$((checks + 1))
    grep -qE -- "$1" "$work/out" && return
    failures=$((failures + 1)); echo "FAILED: no '$1' in:"; tail -n 20 "$work/out"
}
study() { # RANKS JOB arguments...
    local n=$1 job=$2; shift 2
    timeout 60 mpirun -n "$n" "$carat" study "$job" study.ranks=1 "$@"
}
search() { # RANKS DIR arguments...
    local n=$1 dir=$2; shift 2
    timeout 60 mpirun -n "$n" "$carat" search "$work/job.yaml" run.dir="$work/$dir" study.ranks=1 "$@"
}
# The table of checkpoints or batches, and the advice: what does not depend on times.
figures() { sed -n '/^branches of\|^losses after/,$p' "$1" | grep -v '^written'; }
same() { # WHAT A B: two files' figures
    checks=$((checks + 1))
    [ -n "$(figures "$2")" ] && diff <(figures "$2") <(figures "$3") && return
    failures=$((failures + 1)); echo "FAILED: $1 differ"
}

cat >"$work/job.yaml" <<YAML
run: {dir: $work/run}
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 40, layers: 2, heads: 4, kv_heads: 2, head_dim: 12, ffn: 72}
batch: {global: 4, micro: 1, seq_len: 16}
train: {steps: 48, log_every: 24}
optimizer: {lr: 8e-3}
schedule: {name: cosine, warmup: 4 steps}
checkpoint: {every: 12, keep: 9, async: off}
validate: {samples: 16}
YAML
ends 0 "prepare" "$carat" prepare include -o "$work/tokens.h5" --train-tokenizer 400
ends 0 "a run" timeout 60 "$carat" train "$work/job.yaml"

# ---- branches ----
ends 0 "plan of branches" study 1 "$work/run" --branch --plan study.branch=25%
says '^branch +4 batches from each of 3 checkpoints'
says '^cost +12 trials, 12\.3k tokens'
checks=$((checks + 1)); [ ! -e "$work/run-branch" ] || { failures=$((failures + 1)); echo "FAILED: --plan made a folder"; }
ends 0 "branches" study 2 "$work/run" --branch study.branch=25% study.harm=10 --write "$work/ramp.yaml"
cp "$work/out" "$work/two"
says '^ +24 +1\.54k +4 +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +>= 32'
says '^advice +batch.ramp="0:4 768tok:32" batch.global=32; larger may do'
ends 0 "the ramp's job" "$carat" plan "$work/ramp.yaml" --gflops 1
says '^ +768 +32'
ends 0 "branches by one worker" study 3 "$work/run" --branch study.branch=25% study.harm=10 \
    study.dir="$work/alone" study.ranks=3
same "branches by one worker of three ranks and by two workers" "$work/two" "$work/out"
ends 0 "all is done" study 1 "$work/run" --branch study.branch=25% study.harm=10
same "the same command again" "$work/two" "$work/out"
ends 0 "branches as JSON" bash -c "'$carat' study '$work/run' --branch study.branch=25% \
    study.harm=10 study.ranks=1 --json 2>/dev/null | python3 -c '
import json, sys; r = json.load(sys.stdin)
assert [c[\"step\"] for c in r[\"checkpoints\"]] == [12, 24, 36]
assert r[\"batch_ramp\"] == \"0:4 768tok:32\" and r[\"batch_global\"] == 32'"
ends 78 "no checkpoint of that step" study 1 "$work/run" --branch study.from=13 study.dir="$work/x"
says 'study.from: .* holds no checkpoint of step 13'
ends 78 "no run" study 1 "$work/job.yaml" --branch run.dir="$work/none"
says 'none holds no checkpoint: branches start from'
ends 78 "no room for a branch" study 1 "$work/run" --branch study.from=48 study.dir="$work/x"
says 'would end behind the run'

# ---- rules ----
rules=(--rules run.dir="$work/r" train.steps=24 optimizer.lr=0.03 "study.batches=2,4,8" "study.rules=none,linear,malladi" study.extend=1 study.harm=10)
ends 0 "rules" study 2 "$work/job.yaml" "${rules[@]}" --write "$work/rule.yaml"
cp "$work/out" "$work/two"
says '^ +batch +best lr +tuned +none +linear +malladi'
says '^rules +none holds from 2 to 8 .all that was tried.;'
checks=$((checks + 1)); grep -q '^scaling.rule: ' "$work/rule.yaml" || { failures=$((failures + 1)); echo "FAILED: no rule was written"; }
ends 0 "rules by one worker" study 1 "$work/job.yaml" "${rules[@]}" study.dir="$work/rules-alone"
same "rules of one and two workers" "$work/two" "$work/out"
ends 78 "an unknown rule" study 1 "$work/job.yaml" --rules study.rules=squart study.dir="$work/x"
says 'study.rules: .*sqrt'
ends 64 "two things at once" study 1 "$work/job.yaml" --rules --branch

# ---- past ----
ends 0 "the past" "$carat" study "$work/job.yaml" --past study.past="$work"
says '^past +.*: [1-9][0-9]* best rates? with adamw'
says '^exponents .*assumed \(Bjorck et al\. 2025\)'
says 'run and other runs, batch 4 +left out: fewer than three rates'
ends 0 "a search that knows the past" search 1 known search.trials=2 study.past="$work" \
    search.space="optimizer.lr log 1e-4 1"
says '^ +the past in .*: lr\* about'
ends 78 "no past" "$carat" study "$work/job.yaml" --past
says 'study.past is not set'

# ---- the rate on the way; shapes ----
ends 0 "bandit" search 2 bandit search.rule=bandit search.milestones=2 \
    search.space="optimizer.lr log 1e-4 1"
says 'rates [0-9.]+( → [0-9.]+)*; 9\.22k tokens spent, 3\.00 times the 3\.07k of a plain run'
ends 0 "shapes" search 2 shapes search.rule=grid search.equal_flops=on rates.mup_base=40 \
    search.space="model.heads choice 2 4"
says '^ +[0-9]+ +done +.* 2 +20 +1 +36 '
ends 78 "shapes without muP" search 1 x search.equal_flops=on search.space="model.heads int 2 8"
says 'set rates.mup_base'

echo "$((checks - failures)) of $checks checks passed"
[ $failures -eq 0 ]
