#!/usr/bin/env bash
# timeout: 300
# A rank that is stopped, loops or leaves: the others end with it, within bounds and with one
# message. What these bounds are is far above what they take, so that a busy machine passes.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

cat >"$work/job.yaml" <<END
run: {watchdog: 2s}
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 16, layers: 2, heads: 2, kv_heads: 1, head_dim: 8, ffn: 24}
batch: {global: 4, micro: 1, seq_len: 16}
train: {steps: 4}
checkpoint: {every: 2}
validate: {every: 2, samples: 4}
sample: {every: 2, tokens: 4}
END
ok "prepare" "$carat" prepare src/base -o "$work/tokens.h5" --train-tokenizer 400

faulty() { # RANKS POINT:RANK:NTH:ACTION key=value...
    rm -rf "$work/run"
    faulty_there "$@"
}
faulty_there() {
    local n=$1 fault=$2; shift 2
    CARAT_FAULT=$fault timeout -k 5 60 mpirun -n "$n" "$carat" train "$work/job.yaml" \
        run.dir="$work/run" "$@"
}
one_message() {
    checks=$((checks + 1))
    local n; n=$(grep -c 'has made no progress' "$work/out")
    [ "$n" -eq 1 ] || failed "$1: $n messages"
}
nobody_left() { # a stopped process too must be gone
    checks=$((checks + 1))
    for _ in $(seq 50); do pgrep -f "run.dir=$work/run" >/dev/null || return; sleep 0.2; done
    failed "$1: a process is left"
}
hangs() { # WHAT RANKS FAULT PATTERN
    exits 69 "$1" faulty "$2" "$3" "${@:5}"
    says "$4" "$1: who and where"
    says 'carat\(cmd_train\+' "$1: its main thread's frames"
    one_message "$1"
    nobody_left "$1"
    ok "$1: FAILED" grep -q '"code": 69, "message": "rank' "$work/run/FAILED"
}

# A rank in a loop tells of itself, with its main thread's place; another may be first.
hangs "a loop in compute" 3 phase.compute:1:3:hang '(carat: rank 1 .* in phase compute |behind it: rank 1 .compute)'
# Of a stopped one the others tell.
hangs "stopped in compute" 3 phase.compute:1:3:stop 'behind it: rank 1 \(compute of step 3\)'
hangs "stopped in a save" 2 phase.save:0:1:stop 'in phase save'
hangs "a loop in one rank alone" 1 phase.save:0:1:hang 'rank 0 .* in phase save'
# Before the folder is this job's, FAILED is another's and says nothing of it.
mkdir "$work/other"
echo '{"code": 65}' >"$work/other/FAILED"
rm -rf "$work/run"; cp -r "$work/other" "$work/run"
exits 69 "a loop before the folder is held" faulty_there 3 phase.start:1:1:hang
says 'carat\(cmd_train\+' "a loop before the folder is held: its main thread's frames"
one_message "a loop before the folder is held"
nobody_left "a loop before the folder is held"
ok "the other's FAILED" diff -r "$work/other" "$work/run"
# The end is watched as well, up to MPI_Finalize.
hangs "stopped at the end" 2 phase.close:1:1:stop 'in phase close'

# A rank that leaves takes the others with it.
exits 1 "a rank leaves in the middle" faulty 3 phase.reduce:1:2:exit
nobody_left "a rank that left"

# The same run goes on, and the mark of the failure is gone.
ok "goes on" on_ranks 2 "$carat" train "$work/job.yaml" run.dir="$work/run" run.watchdog=120s
says_not 'no progress' "a sound run is left alone"
ok "FAILED is gone" test ! -e "$work/run/FAILED"

# One that is slow, but there, is told of with its host.
ok "a slow rank" faulty 3 phase.compute:1:1:slow train.steps=20 batch.global=6
says "warning: step 20: rank 1 on $(hostname) took [0-9.]+ times as long" "who, and where"
ok "its event" "$carat" inspect "$work/run" --events
says 'step 20, attempt 0, straggler: warn' "it is recorded"
says_not 'rank [02] on' "the others are not told of"

# So does an evaluation, without a word in the run's folder.
exits 69 "stopped in eval" env CARAT_FAULT=phase.validate:1:1:stop timeout -k 5 60 mpirun -n 2 "$carat" eval \
    "$work/run" --watchdog 2
says 'made no progress .* in phase validate .* with a greater --watchdog if nothing hung' "stopped in eval: who and where"
one_message "stopped in eval"
ok "stopped in eval: no FAILED" test ! -e "$work/run/FAILED"
exits 64 "no such watchdog" "$carat" eval "$work/run" --watchdog -1

# Not watched: the launcher's limit is what ends it.
exits 137 "run.watchdog=0" env CARAT_FAULT=phase.compute:0:2:hang timeout -s KILL 3 "$carat" train \
    "$work/job.yaml" run.dir="$work/off" run.watchdog=0
conclude
