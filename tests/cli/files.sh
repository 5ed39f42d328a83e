#!/usr/bin/env bash
# timeout: 300
# inspect, verify and diff on whole, damaged and foreign files, and a run on a full disk.
set -u
cd "$(dirname "$0")/../.." || exit 1
carat=$(realpath "${CARAT:-./carat}")
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
checks=0 failures=0

failed() {
    failures=$((failures + 1)); echo "FAILED: $*"; tail -n 15 "$work/out" "$work/err"
    [ $failures -lt 8 ] || { echo "too many failures"; exit 1; }
}
exits() { # CODE COMMAND...: passes when the command exits with that code
    local code=$1 rc; shift
    checks=$((checks + 1))
    local limit="timeout 120"
    [ "$(type -t "$1")" != function ] || limit=
    $limit "$@" >"$work/out" 2>"$work/err" </dev/null; rc=$?
    [ $rc -eq "$code" ] || failed "exit $rc instead of $code: $*"
}
says() { # PATTERN: the last command's standard output has it
    checks=$((checks + 1)); grep -qE -- "$1" "$work/out" || failed "no '$1' in the output"
}
blames() { # PATTERN: the last command's one line on standard error
    checks=$((checks + 1))
    grep -v -e '^---' -e '^Primary job' -e '^a non-zero' -e '^mpirun' -e '^$' -e 'the job to be' \
        -e 'Process name' -e 'Exit code' "$work/err" >"$work/err1"
    { [ "$(wc -l <"$work/err1")" -eq 1 ] && grep -qE -- "^carat: .*$1" "$work/err1"; } ||
        failed "no single line 'carat: … $1'"
}
check() { # WHAT COMMAND...
    local what=$1; shift
    checks=$((checks + 1)); "$@" >"$work/out" 2>&1 || failed "$what"
}
json() { # PYTHON EXPRESSION over j, the last command's output
    checks=$((checks + 1))
    command -v python3 >/dev/null || { echo "SKIP: no python3 to read JSON"; return; }
    python3 -c "import json,sys; j=json.load(open(sys.argv[1])); sys.exit(not ($1))" "$work/out" \
        2>>"$work/err" || failed "JSON: not $1"
}
offset_of() { # FILE DATASET: where its data lie
    h5dump -p -H -d "$2" "$1" 2>/dev/null | grep -oE 'OFFSET [0-9]+' | grep -oE '[0-9]+'
}
flip() { # FILE OFFSET: all bits of one byte
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\x$(printf %02x $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
train() { # RANKS RUN key=value...
    local n=$1 run=$2; shift 2
    timeout 120 mpirun -n "$n" "$carat" train "$work/job.yaml" run.dir="$work/$run" "$@"
}

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 40, layers: 2, heads: 4, kv_heads: 2, head_dim: 12, ffn: 72,
        window: 9, window_pattern: 2}
batch: {global: 4, micro: 2, seq_len: 33}
train: {steps: 8}
checkpoint: {every: 4, keep: 9}
validate: {every: 4, samples: 4}
END
exits 0 "$carat" prepare src include -o "$work/tokens.h5" --train-tokenizer 400
exits 0 train 2 a
exits 0 train 1 b
exits 0 train 1 c run.seed=7
last=$work/a/checkpoints/step-000000008.h5
segment=$work/a/metrics/seg-0000-0000.h5

# Whole.
exits 0 "$carat" verify "$work/a" "$work/tokens.h5"
says "^whole .*step-000000008.h5: checkpoint"
says "^whole .*seg-0000-0000.h5"
says "^whole .*tokens.h5: token store"
exits 0 mpirun -n 3 "$carat" verify "$last"
exits 0 "$carat" verify "$work/a" --json
json 'len(j) == 4 and all(f["whole"] for f in j)'
mv "$work/a" "$work/[a]*?"
exits 0 mpirun -n 2 "$carat" verify "$work/[a]*?"
says "^whole .*step-000000008.h5: checkpoint"
mv "$work/[a]*?" "$work/a"

# What files hold.
exits 0 "$carat" inspect "$last"
says '^step +8$'; says '^ranks +2$'; says 'exp_avg_sq +[0-9]+ +[0-9]+'
says '^model +Gemma 3: 2 layers'
exits 0 "$carat" inspect "$last" --tensors --config
says '/params/model.embed_tokens.weight +\[400,40\]'; says 'global: 4'
exits 0 "$carat" inspect "$last" --json
json 'j["kind"] == "checkpoint" and j["step"] == 8 and "seq_len" in j["config"]'
exits 0 "$carat" inspect "$work/a"
says '^step +8$'; says '^ +8 .*complete'; says '^valid_loss +[0-9]'
exits 0 "$carat" inspect "$work/a" --json
json 'j["step"] == 8 and [c["step"] for c in j["checkpoints"]] == [8, 4] and j["loss"] > 0'
exits 0 "$carat" inspect "$work/tokens.h5";  says '^vocabulary +400$'; says '^  train +[0-9]+ '
exits 0 "$carat" inspect "$segment";         says '^rows +8$'; says '^attempt +0$'
exits 0 "$carat" inspect "$work/a/metrics.h5"; says '/ranks/compute_s +s '
exits 0 "$carat" inspect "$work/a" --csv
says '^step,attempt,samples,tokens,loss,'
check "a row a step" [ "$(wc -l <"$work/out")" -eq 9 ]
cp "$work/a/metrics.h5" "$work/before.h5"; rm "$work/a/metrics.h5"
exits 0 "$carat" inspect "$work/a" --merge
check "merging again gives the same" h5diff "$work/before.h5" "$work/a/metrics.h5"

# Any HDF5 tool reads them.
check "h5dump reads a tensor" h5dump -d /params/model.norm.weight "$last"
check "h5dump reads a fact" grep -q '"Gemma\|"[0-9a-f-]\{36\}"' <(h5dump -a /run_id "$last")
check "h5ls finds the sums" grep -q 'crc32c' <(h5ls -r "$last")
check "h5dump reads a metric" grep -q 'nat' <(h5dump -d /loss "$work/a/metrics.h5")

# Differences.
exits 0 "$carat" diff "$work/a" "$work/b";  says '^identical '; says '^ranks +2 -> 1$'
exits 0 "$carat" diff "$last" "$work/b" --json;  json 'j["identical"] and j["same"] > 20'
exits 1 "$carat" diff "$work/a" "$work/c"
says '^run.seed +0 -> 7$|^run.seed .* -> 7$'; says 'model.norm.weight .*differ, by at most'
blames 'differ in [0-9]+ datasets'
exits 1 "$carat" diff "$work/a" "$work/c" --json
json 'not j["identical"] and j["different"][0]["largest"] > 0'
exits 65 "$carat" diff "$work/a" "$work/tokens.h5"; blames 'token store'
exits 65 "$carat" diff "$work/a" "$work/none"; blames 'no such'

# Damaged: named, and not used.
cp "$last" "$work/flip.h5"
flip "$work/flip.h5" $(($(offset_of "$last" /exp_avg/model.embed_tokens.weight) + 1000))
for n in 1 3; do
    exits 65 mpirun -n $n "$carat" verify "$work/flip.h5"
    says '^DAMAGED '
    blames 'dataset /exp_avg/model.embed_tokens.weight, block 0'
done
exits 65 "$carat" diff "$last" "$work/flip.h5"; blames 'block 0'
exits 65 "$carat" verify "$work/flip.h5" "$last" --json
json '[f["whole"] for f in j] == [False, True] and "block 0" in j[0]["error"]'
blames '1 of 2 files'
head -c $(($(stat -c %s "$last") - 100)) "$last" >"$work/cut.h5"
exits 65 "$carat" verify "$work/cut.h5"; blames 'cut.h5'
exits 65 "$carat" inspect "$work/cut.h5"
cp "$work/tokens.h5" "$work/tokens2.h5"
flip "$work/tokens2.h5" $(($(offset_of "$work/tokens.h5" /train/tokens) + 200))
exits 65 "$carat" verify "$work/tokens2.h5"; blames 'tokens'
cp -r "$work/a" "$work/d"
flip "$work/d/metrics/seg-0000-0000.h5" $(($(offset_of "$segment" /step) + 130))
exits 65 "$carat" verify "$work/d"; says '^DAMAGED .*seg-0000'
exits 0 "$carat" inspect "$work/d" --csv
check "the damaged row is left out" [ "$(wc -l <"$work/out")" -eq 8 ]

# A run whose newest checkpoint is damaged goes on from the older one, to the same weights.
rm -r "$work/d"; cp -r "$work/a" "$work/d"
cp "$work/flip.h5" "$work/d/checkpoints/step-000000008.h5"
exits 0 train 1 d
check "the older one is named" grep -q 'step-000000004' "$work/d/log.txt"
check "the damaged one is set aside" [ -e "$work/d/checkpoints/step-000000008.h5.damaged" ]
exits 0 "$carat" diff "$work/a" "$work/d"

# Foreign.
exits 65 "$carat" verify "$work/none.h5"; blames 'no such file'
echo text >"$work/text.h5"
exits 65 "$carat" inspect "$work/text.h5"; blames 'HDF5'
mkdir "$work/empty"
exits 65 "$carat" inspect "$work/empty"; blames 'run folder'
exits 64 "$carat" inspect; blames 'one file'
exits 64 "$carat" inspect "$last" --csv; blames 'run folder'
exits 64 "$carat" diff "$last"; blames 'two'

# A full disk: training goes on, the older checkpoints stand, nothing half is left.
if mkdir "$work/small" && mount -t tmpfs -o size=3m none "$work/small" 2>/dev/null; then
    trap 'umount "$work/small"; rm -rf "$work"' EXIT
    exits 74 train 2 small/run checkpoint.every=1 train.steps=20
    check "no half checkpoint is left" [ -z "$(find "$work/small" -name '*tmp*')" ]
    exits 0 "$carat" verify "$work/small/run"
else
    echo "SKIP: no small file system can be mounted here"
fi

percent=$((failures == 0 ? 100 : 100 * (checks - failures) / checks))
echo "$percent%: Checks: $checks, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
