#!/usr/bin/env bash
# The kernels' own tests on every set of instructions that the build holds and the processor knows,
# and what a wrong CARAT_ISA leads to.
set -u
cd "$(dirname "$0")/../.." || exit 1
CARAT=$(realpath "${CARAT:-.build/release/carat}")
build=$(dirname "$CARAT")
fail() { echo "FAILED: $*"; exit 1; }

if ! nm "$CARAT" 2>/dev/null | grep -q ' isa_choose$'; then
    echo 'SKIP: this build holds one set of instructions'
    exit 0
fi

out=$(CARAT_ISA=v5 "$CARAT" --version 2>&1) && fail 'CARAT_ISA=v5 was taken'
[ "$(CARAT_ISA=v5 "$CARAT" --version >/dev/null 2>&1; echo $?)" = 78 ] || fail 'status is not 78'
[[ $out == *'CARAT_ISA=v5'*baseline* ]] || fail "says: $out"

log=$(mktemp); trap 'rm -f "$log"' EXIT
for set in baseline v3 v4 v4_bf16; do
    out=$(CARAT_ISA=$set "$build/tests/base/test_isa" 2>&1) || {
        [[ $out == *CARAT_ISA=$set:* ]] || fail "$set: $out"
        echo "SKIP: $set: not known here"
        continue
    }
    n=0
    for src in tests/kern/test_*.c tests/optim/test_optim.c tests/base/test_half.c; do
        t=$build/${src%.c}
        CARAT_ISA=$set "$t" >"$log" 2>&1 || { cat "$log"; fail "$set: ${t##*/}"; }
        n=$((n + 1))
    done
    echo "$set: $n programs passed"
done

# Ranks whose kernels differ are told; a processor without bf16 instructions refuses bf16 products.
dir=$(mktemp -d); trap 'rm -rf "$log" "$dir"' EXIT
"$CARAT" prepare src/base include/base -o "$dir/tokens.h5" --train-tokenizer 400 --quiet || fail prepare
cat >"$dir/job.yaml" <<END_JOB
model: {preset: gemma3-nano, width: 64, layers: 1}
data: {train: $dir/tokens.h5}
batch: {global: 2, micro: 1, seq_len: 16}
train: {steps: 1}
END_JOB
train() { # NAME [SETTINGS...]: two ranks, the second with the kernels that $second says
    local name=$1; shift
    timeout 60 mpirun --oversubscribe -n 1 "$CARAT" train "$dir/job.yaml" run.dir="$dir/$name" "$@" : \
        -n 1 env ${second:+"$second"} "$CARAT" train "$dir/job.yaml" run.dir="$dir/$name" "$@" \
        >"$dir/out" 2>&1
}
train alike || { cat "$dir/out"; fail 'two ranks alike'; }
grep -q 'rank 1 has' "$dir/out" && fail 'warned of ranks that are alike'
second=CARAT_ISA=baseline train apart || { cat "$dir/out"; fail 'two ranks with other kernels'; }
if CARAT_ISA=v3 "$CARAT" --version >/dev/null 2>&1; then
    [ "$(grep -c 'rank 0 has .* rank 1 has .*; x86-64 with' "$dir/out")" = 1 ] || { cat "$dir/out"; fail 'not warned once'; }
fi
out=$(ONEDNN_MAX_CPU_ISA=AVX2 timeout 60 mpirun -n 1 "$CARAT" train "$dir/job.yaml" \
    run.dir="$dir/bf16" numerics.precision=bf16 2>&1); status=$?
[[ $status = 78 && $out == *bf16* ]] || fail "bf16 without its instructions: exit $status: $out"
echo 'ranks with other kernels are told; bf16 is refused where it cannot be'
