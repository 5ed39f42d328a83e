#!/usr/bin/env bash
# carat bench: what it prints and refuses, and that it leaves nothing behind.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame
dir=$work place=
mkdir "$dir/tmp"; export TMPDIR=$dir/tmp

fail() { # WHAT
    failures=$((failures + 1))
    echo "FAILED: $1"
    sed 's/^/    /' "$dir/out" "$dir/err" | head -n 12
}
bench() { # RANKS CODE ARGS...: ends with that code
    local ranks=$1 want=$2 rc; shift 2
    checks=$((checks + 1))
    (cd "$dir" && on_ranks "$ranks" ${place:+env TMPDIR="$place"} "$carat" bench "$@") </dev/null >"$dir/out" 2>"$dir/err"; rc=$?
    [ $rc -eq "$want" ] || fail "carat bench $*: exit $rc, not $want"
}
says() { # PATTERN: on standard output
    checks=$((checks + 1)); grep -qE -- "$1" "$dir/out" || fail "no \"$1\" in the output"
}
blames() { # PATTERN: on standard error, said once
    checks=$((checks + 1))
    [ "$(grep -cE -- "^carat: .*$1" "$dir/err")" -eq 1 ] || fail "not once \"carat: … $1\""
}
check() { # WHAT COMMAND...
    local what=$1; shift
    checks=$((checks + 1)); "$@" || fail "$what"
}
json() { # WHAT PYTHON: of the figures b
    check "$1" python3 -c "import json,sys; b=json.load(sys.stdin)
$2" <"$dir/out"
}

cat >"$dir/job.yaml" <<END
model: {preset: gemma3-nano, vocab: 300, width: 32, layers: 2, heads: 2, kv_heads: 1, head_dim: 16, ffn: 64}
batch: {global: 8, micro: 2, seq_len: 32}
END

# One rank, for people.
bench 1 0 job.yaml --steps 4
says '^batch +8 sequences of 32, micro-batch 2; made-up tokens'
says '^peak +[0-9.]+ GFLOP/s a core in fp32'
says '^bandwidth +[0-9.]+ GB/s a rank'
says '^steps +4, median '
says '^forward +embedding'
says '^backward +head'
says '^update +optimizer'
says '^tokens +.* a second'
says '^peak +[0-9.]+% of the fp32 peak of 1 core: '
says '^memory +.*plan: '
says '^beside it +data, metrics and progress take [0-9.]+% of a step'

# Two ranks and fewer, for programs.
bench 2 0 job.yaml --steps 5 --warmup 1 --scaling --json
json "what the figures are" '
assert b["ranks"] == 2 and b["steps"] == 5 and b["synthetic_tokens"] is True and b["precision"] == "fp32"
assert b["tokens_per_s"] > 0 and 0 < b["peak_fraction"] < 1.5 and b["memory_bytes"] > 1e6'
json "rates agree with each other" '
assert abs(b["tokens_per_s"] * b["step_s"] / 256 - 1) < 1e-5
assert abs(b["flops_per_s"] / b["peak_flops"] / b["peak_fraction"] - 1) < 1e-5
assert b["fastest_step_s"] <= b["step_s"] <= b["slowest_step_s"]'
# How much of a step they are depends on what else the machine does; twice would be too much.
json "phases are parts of a step, each once" '
names = [(p["part"], p["phase"]) for p in b["phases"]]
assert len(names) == len(set(names)) and ("backward", "attention") in names
share = sum(p["s"] for p in b["phases"]) / b["step_s"]
assert 0 < share < 1.5, share'
json "the machine" '
m = b["machine"]
assert m["fp32_flops_a_core"] > 1e8 and m["copy_bytes_per_s_a_rank"] > 1e7
assert m["messages_in_node"]["latency_s"] > 0 and m["messages_between_nodes"] is None'
json "the plan" '
assert abs(sum(b["plan"]["rank"].values()) / b["plan"]["rank_bytes"] - 1) < 1e-5'
json "scaling" '
s = b["scaling"]; c = s["counts"]
assert [x["ranks"] for x in c] == [1, 2] and [x["weak_batch"] for x in c] == [4, 8]
assert c[0]["strong_efficiency"] == 1 and c[0]["weak_efficiency"] == 1 and s["advice"]
a = s["amdahl"]
assert a is None or 0 <= a["serial_share"] <= 1'
check "standard error is empty" [ ! -s "$dir/err" ]

# More ranks than processors, uneven micro-batches.
bench 3 0 job.yaml --steps 3 --warmup 0 --scaling --ranks 2,3
says '3 ranks share the micro-batches of 8 sequences unevenly|too few counts'
[ "$(nproc)" -ge 3 ] || says 'more threads than processors'
says '^ +2 .*100%'

# A store that is there is used.
ok=$dir/src; mkdir "$ok"; cp src/cmd/*.c "$ok"
"$carat" prepare "$ok" -o "$dir/tokens.h5" --train-tokenizer 400 >"$dir/out" 2>&1 || fail prepare
bench 1 0 job.yaml data.train=tokens.h5 model.vocab=400 --steps 3
says 'micro-batch 2; tokens.h5'

# Refusals
bench 1 64;                                   blames 'which job'
bench 1 65 none.yaml;                         blames 'none.yaml'
bench 2 78 job.yaml batch.micro=9;            blames 'greater than batch.global'
bench 1 78 job.yaml batch.global=0 batch.micro=1; blames 'batch.global'
bench 1 64 job.yaml --steps -1;               blames '--steps -1'
bench 1 64 job.yaml --ranks 1;                blames '--scaling'
bench 2 64 job.yaml --scaling --ranks 1,3;    blames '--ranks'
bench 2 64 job.yaml --scaling --ranks 2,1;    blames 'must rise'
bench 2 64 job.yaml --scaling --ranks one;    blames 'counts such as'
bench 1 65 job.yaml data.train=job.yaml;      blames 'job.yaml'
place=$dir/none bench 2 74 job.yaml --steps 3; blames 'cannot make a folder'

check "nothing is left in the temporary folder" [ -z "$(find "$dir/tmp" -mindepth 1 -maxdepth 1 ! -name 'ompi*')" ]
check "nothing is left where it ran" [ "$(ls "$dir")" = "$(printf 'err\njob.yaml\nout\nsrc\ntmp\ntokens.h5')" ]

for w in jobs/bench-w*.yaml; do
    checks=$((checks + 1))
    "$carat" plan "$w" train.steps=1 data.train=none.h5 --gflops 1 >"$dir/out" 2>"$dir/err" || fail "$w"
done

conclude
