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
