#!/usr/bin/env bash
# timeout: 300
# Rows that were shown stay, also of a run that is killed again before it has redone its steps; those
# of a path that was left do not.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 16, layers: 2, heads: 2, kv_heads: 1, head_dim: 8, ffn: 24}
batch: {global: 4, micro: 4, seq_len: 16}
train: {steps: 14, log_every: 1}
checkpoint: {every: 9, async: off}
validate: {every: 0}
END
words "$work/text.txt"
ok "prepare" "$carat" prepare "$work/text.txt" -o "$work/tokens.h5" --train-tokenizer 320

killed() { # STEPS RUN key=value...: after so many steps of this start; one micro-batch each
    local n=$1 run=$2; shift 2
    exits 137 "killed after $n steps" env CARAT_FAULT="phase.data:0:$((n + 1)):kill" "$carat" train \
        "$work/job.yaml" run.dir="$work/$run" "$@"
}
rows() { # of a run: step:attempt, the later of them from step 9 on
    "$carat" inspect "$work/$1" --csv 2>/dev/null | awk -F, '$1 >= 9 && NR > 1 {printf "%s:%s ", $1, $2}'
}
column() { # NAME RUN: of metrics.h5
    h5dump -y -d "/$1" "$2/metrics.h5" | grep -E '^ *[0-9]+(, [0-9]+)*,?$' | tr -cs '0-9' '\n' | grep .
}
merged() { # the same of metrics.h5
    paste -d: <(column step "$work/$1") <(column attempt "$work/$1") | awk -F: '$1 >= 9 {printf "%s ", $0}'
}
has_rows() { # RUN ROWS WHAT: by every reader
    ok "$3" test "$(rows "$1")" = "$2"
    ok "$3: merging" "$carat" inspect "$work/$1" --merge
    ok "$3: merged" test "$(merged "$1")" = "$2"
}

killed 12 run
has_rows run "9:0 10:0 11:0 12:0 " "what a killed run has shown"
killed 1 run
has_rows run "9:0 10:1 11:0 12:0 " "killed again while it redoes its steps"
cp -r "$work/run" "$work/changed"
ok "to its end" train 1 run
has_rows run "9:0 10:2 11:2 12:2 13:2 14:2 " "redone"

# With other settings what was behind the checkpoint is of another path; the new one's rows stay.
killed 2 changed optimizer.lr=1e-4
has_rows changed "9:0 10:2 11:2 " "another rate"
killed 1 changed optimizer.lr=1e-4
has_rows changed "9:0 10:3 11:2 " "another rate, killed again"
# The durable step is published while the run is at work, by what all ranks have synced.
exits 137 "a killed job" env CARAT_METRICS_SYNC_S=0.01 CARAT_FAULT=phase.data:1:1001:kill timeout 120 \
    mpirun -n 2 "$carat" train "$work/job.yaml" run.dir="$work/two" train.steps=2000 batch.micro=2
ok "its durable step" "$carat" inspect "$work/two"
says '^durable_step +[0-9]+$' "there is one"

conclude
