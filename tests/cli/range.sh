#!/usr/bin/env bash
# timeout: 600
# carat range: what it prints, suggests, writes and refuses, and that a run folder stays untouched.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame
dir=$work src=$PWD/src

fail() { # WHAT
    failures=$((failures + 1))
    echo "FAILED: $1"
    sed 's/^/    /' "$dir/out" "$dir/err" | tail -n 15
}
run() { # RANKS CODE COMMAND ARGS...: ends with that code
    local ranks=$1 want=$2 rc; shift 2
    checks=$((checks + 1))
    (cd "$dir" && on_ranks "$ranks" "$carat" "$@") </dev/null >"$dir/out" 2>"$dir/err"; rc=$?
    [ $rc -eq "$want" ] || fail "carat $*: exit $rc, not $want"
}
range() { # RANKS CODE ARGS...
    local ranks=$1 want=$2; shift 2
    run "$ranks" "$want" range "$@"
}
says() { # PATTERN: on standard output
    checks=$((checks + 1)); grep -qE -- "$1" "$dir/out" || fail "no \"$1\" in the output"
}
says_not() { # PATTERN
    checks=$((checks + 1)); ! grep -qE -- "$1" "$dir/out" || fail "\"$1\" in the output"
}
blames() { # PATTERN: on standard error, said once
    checks=$((checks + 1))
    [ "$(grep -cE -- "^carat: .*$1" "$dir/err")" -eq 1 ] || fail "not once \"carat: … $1\""
}
check() { # WHAT COMMAND...
    local what=$1; shift
    checks=$((checks + 1)); "$@" >/dev/null 2>&1 || fail "$what"
}
json() { # WHAT PYTHON: of the figures r
    checks=$((checks + 1))
    python3 -c "import json,sys; r=json.load(sys.stdin)
$2" <"$dir/out" 2>>"$dir/err" || fail "$1"
}
listing() { find "$1" -type f -printf '%P %s %T@\n' | sort; }

cat >"$dir/job.yaml" <<END
# A small job; its comments stay.
data: {train: tokens.h5}
model: {preset: gemma3-nano, width: 32, layers: 2, heads: 2, kv_heads: 1, head_dim: 16, ffn: 64}
batch:
  global: 8      # sequences
  micro: 4
  seq_len: 32
train: {steps: 20}
optimizer:
  lr: 1e-3       # to be found
checkpoint: {every: 10}
END
run 1 0 prepare "$src" -o tokens.h5 --train-tokenizer 400

# For people: progress, table, figure, suggestion.
range 1 0 job.yaml --from 1e-5 --to 10 --steps 60
says '^job +job: '
says '^weights +random, run.seed 1$'
says '^ramp +1e-05 to 10, exponential, 60 steps of 8 sequences of 32$'
says '^batch +8 +step +6/60 +lr 3\.16e-05 +loss '
says '^ +8 +[0-9]+ +(whole|diverged)'
says '^ +\+\+-+\+'
says '1e-4 .*1e-2'
says 'V valley, S steepest, M minimum/10'
says '^suggestion +optimizer.lr=[0-9.e-]+ \(valley\)$'
check "no run folder is made" test ! -e "$dir/runs"

# For programs, and the same at any number of ranks.
for ranks in 1 2 3; do
    range $ranks 0 job.yaml --from 1e-5 --to 10 --steps 60 --json
    cp "$dir/out" "$dir/json$ranks"
done
check "1 and 2 ranks agree to the bit" cmp "$dir/json1" "$dir/json2"
check "1 and 3 ranks agree to the bit" cmp "$dir/json1" "$dir/json3"
json "what the JSON holds" '
b = r["batches"][0]
assert len(r["batches"]) == 1 and b["batch"] == 8 and len(b["points"]) == b["steps"]
assert 1e-5 < r["lr"] < 10 and r["lr"] == b["valley"] and r["base_batch"] == 8 and r["exponent"] is None
assert abs(b["points"][1]["lr"] / b["points"][0]["lr"] / 1e6 ** (1 / 60) - 1) < 1e-6
assert abs(b["points"][0]["loss"] - 6) < 0.5'

# Several batches, a figure and a job file.
range 2 0 job.yaml --from 1e-5 --to 10 --steps 60 --batch 4,16,64 --write found.yaml
says '^slope +lr ~ B\^-?[0-9.]+ '
says '^suggestion +optimizer.lr=[0-9.e-]+ scaling.base_batch=(4|16) '
says '^written +found.yaml: optimizer.lr '
lr=$(sed -n 's/^suggestion *optimizer.lr=\([^ ]*\) .*/\1/p' "$dir/out")
check "the rate is in the job" grep -qx "  lr: $lr       # to be found" "$dir/found.yaml"
check "the batch is in the job" grep -qxE 'scaling.base_batch: (4|16)' "$dir/found.yaml"
check "nothing else changed" test "$(diff "$dir/job.yaml" "$dir/found.yaml" | grep -c '^>')" -eq 2
run 1 0 plan found.yaml --gflops 1
range 1 64 job.yaml --write found.yaml
blames 'found.yaml: the file is there already; --force'
range 1 0 job.yaml --from 1e-5 --to 10 --steps 60 --write found.yaml --force model.width=48 train.tokens=9k
check "settings of the command line are in the job" grep -qE 'width: 48,' "$dir/found.yaml"
check "and take the place of others" grep -qx 'train: {tokens: 9000 tokens}' "$dir/found.yaml"
if command -v gnuplot >/dev/null; then
    range 1 0 job.yaml --from 1e-5 --to 10 --steps 60 --batch 4,8 --figure "it's.svg"
    check "the figure is SVG" grep -q '<svg' "$dir/it's.svg"
    check "with a title for each curve" grep -q 'batch 8, valley' "$dir/it's.svg"
else
    echo 'SKIP: the figure: no gnuplot'
fi
mkdir "$dir/bin"; find /usr/bin /bin -maxdepth 1 ! -name 'gnuplot*' -exec ln -sft "$dir/bin" {} +
path=$PATH PATH=$dir/bin
range 1 78 job.yaml --figure a.svg
PATH=$path
blames 'needs gnuplot'

# Linear, and from model.init.
range 1 0 job.yaml --from 1e-4 --to 0.05 --ramp linear --steps 40 --json
json "linear steps" '
p = r["batches"][0]["points"]
assert abs((p[2]["lr"] - p[1]["lr"]) / ((0.05 - 1e-4) / 40) - 1) < 1e-6'

# A run folder stays as it is, live or not; its checkpoint is a start when asked for.
run 2 0 train job.yaml run.dir=done
listing "$dir/done" >"$dir/before"
range 2 0 job.yaml run.dir=done --from 1e-5 --to 10 --steps 40
says '^weights +random'
says 'not those of done, which is at step 20: --resume'
range 2 0 job.yaml run.dir=done --from 1e-5 --to 10 --steps 40 --resume --json
json "it starts where the run ended" 'assert r["batches"][0]["points"][0]["loss"] < 5.9'
range 1 0 ./done --from 1e-5 --to 10 --steps 40 --resume
says '^weights +./done, its newest checkpoint, step 20: --resume was given$'
range 1 0 job.yaml model.init=done --from 1e-5 --to 10 --steps 40
says '^weights +done, as model.init says'
touch "$dir/done/stop"
range 1 0 job.yaml run.dir=done --from 1e-5 --to 10 --steps 40
check "a request for the run is not taken" test -e "$dir/done/stop"
rm "$dir/done/stop"
listing "$dir/done" >"$dir/after"
check "the run folder is untouched" cmp "$dir/before" "$dir/after"
range 1 65 job.yaml run.dir=nowhere --resume
blames 'nowhere holds no checkpoint'
check "nor is one made" test ! -e "$dir/nowhere"

# A divergence ends the test; one at once leaves no suggestion.
range 2 0 job.yaml optimizer.name=sgd optimizer.clip_norm=0 --from 1e-3 --to 1e9 --steps 60
says '^ +8 +[0-9]+ +(diverged|not finite)'
says '^suggestion'
range 2 76 job.yaml optimizer.name=sgd optimizer.clip_norm=0 --from 1e12 --to 1e20 --steps 20
blames 'no suggestion: at lr .*lower --from'
says_not '^suggestion'
range 1 0 job.yaml --from 1e-15 --to 1e-14 --steps 40 --batch 1
says 'no more than its noise'

# Refused.
range 2 64 job.yaml --from 1 --to 1e-3
blames 'the first below the last'
range 1 64 job.yaml --from 1e-3 --to 1e-3
blames 'the first below the last'
range 1 64 job.yaml --from 0
blames 'rates above 0'
range 1 64 job.yaml --steps 9
blames '--steps 9: 10 to'
range 1 64 job.yaml --ramp square
blames 'exponential or linear'
range 2 64 job.yaml --batch 16,0
blames 'batches of 1 to'
range 1 64 job.yaml --batch 16,
blames 'batches of 1 to'
range 1 64 job.yaml --batch 16,16
blames '16 is there twice'
range 1 64 job.yaml --write no/such/job.yaml
blames 'the folder no/such is not there'
range 1 64 job.yaml --force
blames '--force goes with --write'
range 1 64 job.yaml --too 3
blames 'did you mean --to'
range 2 65 job.yaml data.train=missing.h5
blames 'data.train'
range 1 78 job.yaml optimizer.lrr=3
blames 'did you mean optimizer.lr'
range 1 0 --help
says 'usage: carat range JOB'

conclude
