#!/usr/bin/env bash
# The command line: exit codes, messages, help. Run from the top folder; CARAT names the program.
set -u
carat=${CARAT:-./carat}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
n=0 failures=0
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT

fail() { # WHAT
    failures=$((failures + 1))
    echo "FAILED: $1"
    sed 's/^/    /' "$dir/out" "$dir/err" | head -n 20
}
# try CODE ARGS...: the program ends with that code; its output is in $dir/out and $dir/err.
try() {
    local want=$1 rc; shift
    n=$((n + 1))
    timeout 60 "$carat" "$@" </dev/null >"$dir/out" 2>"$dir/err"; rc=$?
    [ $rc -eq "$want" ] || fail "carat $*: exit $rc, not $want"
}
says() { # PATTERN: on standard output
    n=$((n + 1)); grep -qE -- "$1" "$dir/out" || fail "no \"$1\" in the output"
}
blames() { # PATTERN: on standard error, in one line that begins with "carat: "
    n=$((n + 1))
    { [ "$(wc -l <"$dir/err")" -eq 1 ] && grep -qE -- "^carat: .*$1" "$dir/err"; } ||
        fail "no \"carat: … $1\""
}
check() { # WHAT COMMAND...
    local what=$1; shift
    n=$((n + 1)); "$@" || fail "$what"
}

# The program itself
try 0;                  says '^  train '
try 0 --version;        says '^carat [^ ]+$'
try 0 --help;           says '^usage: carat COMMAND'
try 0 help;             says '^  plan '
try 64 trian;           blames 'did you mean `carat train`'
try 64 qqqqqqqq;        blames 'no such command'
try 64 --json plan;     blames 'the command comes first'
try 64 help trian;      blames 'did you mean `carat help train`'
try 0 help keys;        says '^optimizer.lr +1e-3 '
try 0 help presets;     says '^gemma3-270m '
try 0 help optimizers;  says '^adamw '
try 0 help schedules;   says '^cosine '
try 0 help scaling;     says '^sqrt '; says '^scaling.rule '
try 0 help schedule.warmup
says '^  default +2%$'; says '^  unit +steps, tokens, samples, epochs or %; a plain number is in steps$'
says '^  resume +may be changed'; says '^  schedule.warmup: 500 steps$'
try 0 help optimizer.clip_norm; says '^  source +Pascanu et al. 2013 '
try 0 help schedule;    says '^schedule.warmup +2% '
try 64 help schedule.warmpu;    blames 'did you mean `carat help schedule.warmup`'
try 64 help lr;                 blames 'did you mean `carat help optimizer.lr`'
try 64 help zzzzzzzzz;          blames '`carat help keys` list'
commands=$("$carat" | sed '/^More/,$d' | sed -n 's/^  \([a-z]\+\) .*/\1/p')
check "too few commands: $commands" [ "$(wc -w <<<"$commands")" -ge 5 ]

# Each command's help: one screen, usage first, an example last; unknown options are refused.
for c in $commands; do
    try 0 "$c" --help
    check "help of $c begins with its usage" grep -q "^usage: carat $c" <(head -n 1 "$dir/out")
    check "help of $c fits one screen" [ "$(wc -l <"$dir/out")" -le 40 ]
    check "help of $c is at most 100 columns wide" [ "$(wc -L <"$dir/out")" -le 100 ]
    check "help of $c ends with an example" \
        grep -qE "^  .*carat $c" <(sed -n '/^example:/,$p' "$dir/out")
    cp "$dir/out" "$dir/help"
    try 0 help "$c"
    check "carat help $c is carat $c --help" cmp -s "$dir/out" "$dir/help"
    try 64 "$c" --no-such-option
    blames 'no such option'
done

# Jobs
printf 'model.preset: gemma3-nano\nmodel.vocab: 512\ndata.train: none.h5\n' >"$dir/job.yaml"
printf 'batch: {global: 8, micro: 2, seq_len: 64}\ntrain.steps: 50\n' >>"$dir/job.yaml"
try 64 plan;                                   blames 'which job'
try 64 plan "$dir/job.yaml" other.yaml;        blames 'one job is enough'
try 65 plan "$dir/none.yaml";                  blames 'none.yaml'
mkdir "$dir/empty" "$dir/moved"
try 65 plan "$dir/empty";                      blames 'no run folder'
try 78 plan "$dir/job.yaml" optimizer.rl=1;    blames 'did you mean optimizer.lr'
try 78 plan "$dir/job.yaml" optimizer.lr=fast; blames 'optimizer.lr: "fast" is not a number'
try 78 plan "$dir/job.yaml" optimizer.beta1=2; blames 'out of range'
try 78 plan "$dir/job.yaml" batch.micro=9;     blames 'greater than batch.global'
try 78 plan "$dir/job.yaml" model.preset=gemma3-nono; blames 'gemma3-nano'
try 78 plan "$dir/job.yaml" optimizer.name=adamv;     blames 'adamw'
try 78 plan "$dir/job.yaml" schedule.name=cosin;      blames 'cosine'
try 78 plan "$dir/job.yaml" scaling.rule=squirt;      blames 'sqrt'
try 78 plan "$dir/job.yaml" model.heads=3 model.kv_heads=2; blames 'heads'
try 65 plan "$dir/job.yaml" train.epochs=1;    blames 'an epoch has no length'
try 64 plan "$dir/job.yaml" --optimizer.lr 1;  blames 'without dashes: optimizer.lr='
printf 'model:\n  preset: gemma3-nano\n  layres: 3\n' >"$dir/bad.yaml"
try 78 plan "$dir/bad.yaml";                   blames 'bad.yaml:3:3: .*did you mean model.layers'

# Settings: default < file < command line; what is printed reads back as the same.
try 0 plan "$dir/job.yaml" --print-config optimizer.lr=0.5
says '^optimizer.lr: 0.5 +# command line'
says '^batch.global: 8 +# job.yaml:4'
says '^optimizer.eps: -1 +# default'
says '^run.dir: runs/job '
sed 's/ *#.*//' "$dir/out" >"$dir/first"
cp "$dir/out" "$dir/again.yaml"
try 0 plan "$dir/again.yaml" --print-config
check "--print-config reads back" cmp -s "$dir/first" <(sed 's/ *#.*//' "$dir/out")

# A run folder stands for its job, under the name it has now.
cp "$dir/first" "$dir/moved/job.yaml"
try 0 plan "$dir/moved" --print-config
says "^run.dir: $dir/moved +# command line"
says '^optimizer.lr: 0.5 +# job.yaml:'

# A plan
try 0 plan "$dir/job.yaml" --ranks 2 --gflops 1
says '^batch +8 sequences = 2 ranks × micro-batch 2 × accumulation 2$'
says "^  a rank's share "
says '^time '
try 0 plan "$dir/job.yaml" --gflops 1 --nodes 5 --ranks-per-node 2 --net 2us,25GB/s
says '^batch +8 sequences = 10 ranks'
says '^network +2 us and 25 GB/s a node$'
for row in '1 +2 +2' '2 +4 +1' '4 +8 +1' '5 +10 +1'; do says "^ +$row "; done
says '^advice +efficiency falls under 90% at 4 nodes and under 50% at 5'
try 0 plan "$dir/job.yaml" --json --nodes 4 --ranks-per-node 1
check "a plan that was measured" python3 -c 'import json,sys; p=json.load(sys.stdin)
s = p["scaling"]; c = s["counts"]
assert [x["nodes"] for x in c] == [1, 2, 4] and c[0]["efficiency"] == 1 and s["advice"]
assert p["ranks"] == 4 and p["nodes"] == 4 and 0 < p["step_s"] < 60 and p["rank_flops"] > 1e6
assert abs(c[2]["step_s"] - p["step_s"]) < 1e-9 and c[0]["step_s"] > c[2]["step_s"]
assert abs(sum(v for k, v in p["step"].items() if k != "messages_hidden_s") - p["step_s"]) < 1e-9' \
    <"$dir/out"
try 64 plan "$dir/job.yaml" --nodes 2000;                    blames '1 to 1024'
try 64 plan "$dir/job.yaml" --nodes 4 --ranks 6 --ranks-per-node 3; blames 'do not fill 4 nodes'
try 64 plan "$dir/job.yaml" --net 25GB/s --gflops 1;         blames 'LATENCY,BANDWIDTH'
try 71 plan "$dir/job.yaml" --memory 1MiB --gflops 1
check "it says what to do" grep -q 'will not fit: a node needs .*; ' "$dir/err"
try 0 plan "$dir/job.yaml" --json --gflops 1
check "--json is JSON" python3 -c 'import json,sys; p=json.load(sys.stdin)
assert p["steps"] == 50 and p["tokens_per_step"] == 512 and p["memory"]["fits"] is True' <"$dir/out"
try 0 plan "$dir/job.yaml" --lr-curve
check "one row a step" [ "$(wc -l <"$dir/out")" -eq 51 ]
check "header" [ "$(head -n 1 "$dir/out")" = step,tokens,lr ]
check "the last step ends at all tokens" grep -q '^50,25600,' <(tail -n 1 "$dir/out")
check "rates rise above 0 and end low" awk -F, 'NR > 1 && $3 <= 0 { bad = 1 }
    { last = $3 } END { exit bad || last > 0.00011 || last < 0.0001 }' "$dir/out"
n=$((n + 1)); "$carat" plan "$dir/job.yaml" --gflops 1 >/dev/full 2>"$dir/err"
[ $? -eq 74 ] || fail "a full disk is exit 74"

# Libraries see their settings as they are loaded: the program starts twice unless all are set.
starts() { # VARIABLES...: how often the BLAS is loaded
    env -u OPENBLAS_NUM_THREADS -u OPENBLAS_THREAD_TIMEOUT -u GOMP_SPINCOUNT "$@" LD_DEBUG=files \
        "$carat" --version 2>&1 | grep -c 'calling init: .*openblas'
}
check "settings are there when libraries load" [ "$(starts)" = 2 ]
check "settings are there already: no second start" \
    [ "$(starts OPENBLAS_NUM_THREADS=4 OPENBLAS_THREAD_TIMEOUT=20 GOMP_SPINCOUNT=0)" = 1 ]
GOMP_SPINCOUNT=0 try 0 doctor --threads 2; says 'fix: unset it: carat sets GOMP_SPINCOUNT'

# A doctor
try 0 doctor --json
check "doctor --json is JSON" python3 -c 'import json,sys; d=json.load(sys.stdin)
assert all("fix" in w for w in d["warnings"]) and d["HDF5"]["parallel"] == "yes"' <"$dir/out"
OPENBLAS_CORETYPE=Prescott try 0 doctor
says 'fix: unset '
try 64 doctor --threads 1025; blames '--threads takes 1'
try 64 doctor --threads 0; blames '--threads takes 1'
n=$((n + 1))
timeout 60 mpirun -n 2 "$carat" doctor >"$dir/out" 2>"$dir/err" || fail "doctor on 2 ranks"
says '^  ranks +2 on 1 node'
n=$((n + 1)); timeout 60 mpirun -n 2 "$carat" plan "$dir/none.yaml" >"$dir/out" 2>"$dir/err"
[ "$(grep -c '^carat: ' "$dir/err")" -eq 1 ] || fail "one rank tells an error for all"

echo "$((100 * (n - failures) / n))%: Checks: $n, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
