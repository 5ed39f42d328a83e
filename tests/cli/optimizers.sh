#!/usr/bin/env bash
# timeout: 300
# Optimizers as people meet them: help, warnings, plans, and runs that end and go on elsewhere with
# what each rule keeps.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

value() { # KEY: of the last command's JSON, by its path
    python3 -c 'import json, sys; v = json.load(open(sys.argv[1]))
for k in sys.argv[2].split("."): v = v[k]
print(v)' "$work/out" "$1"
}

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 40, layers: 2, heads: 4, kv_heads: 2, head_dim: 12, ffn: 72,
        window: 9, window_pattern: 2}
batch: {global: 5, micro: 2, seq_len: 24}
train: {steps: 6, log_every: 1}
optimizer: {lr: 3e-3}
schedule: {name: constant, warmup: 2 steps}
checkpoint: {every: 3, keep: 9}
validate: {every: 2, samples: 5}
END
ok "prepare" "$carat" prepare src/optim src/par -o "$work/tokens.h5" --train-tokenizer 400

ok "help" "$carat" help optimizers
for name in adamw adam sgd adagrad rmsprop lars lamb lion adafactor muon schedule_free prodigy \
    sgd_hd adam_hd; do
    says "^$name +[a-zA-Z]" "help names $name"
done

exits 78 "an unknown rule" train 1 none optimizer.name=adamax
says 'optimizer "adamax" is unknown; did you mean "adam' "the nearest rule"

ok "a setting that is not read" "$carat" plan "$work/job.yaml" run.dir="$work/plan" \
    optimizer.momentum=0.5 optimizer.trust=0.1
says 'warning: optimizer.momentum is set to 0.5, and optimizer.name adamw does not read it' "what is ignored"
says 'warning: optimizer.trust is set' "all that is ignored"
ok "settings that are read" "$carat" plan "$work/job.yaml" run.dir="$work/plan" \
    optimizer.name=lars optimizer.momentum=0.5 optimizer.trust=0.1
says_not 'does not read' "nothing is ignored"

# Ended by request after the first step on three ranks, and gone on with on one.
for name in muon adafactor schedule_free prodigy; do
    ok "$name on one rank" train 1 "$name-1" optimizer.name=$name
    mkdir -p "$work/$name-3"; touch "$work/$name-3/stop"
    exits 75 "$name ends early" train 3 "$name-3" optimizer.name=$name
    ok "$name goes on" train 1 "$name-3" optimizer.name=$name
    says "resumed .*step 1 of 6" "what is resumed"
    ok "the same bits of $name" "$carat" diff "$work/$name-1" "$work/$name-3"
    ok "$name is whole" "$carat" verify "$work/$name-3"
    exits 78 "another rule in the same run" train 1 "$name-3" optimizer.name=adamw train.steps=8
    says "optimizer.name" "the changed key is named"
    ok "$name is evaluated" "$carat" eval "$work/$name-3" --json
done

# Momentum may come and go on the way.
ok "sgd" train 2 sgd-1 optimizer.name=sgd
ok "sgd with momentum from here" train 2 sgd-1 optimizer.name=sgd optimizer.momentum=0.9 train.steps=8
says "momentum_buffer begins at zero" "where the momentum comes from"
ok "sgd with its momentum" train 1 sgd-1 optimizer.name=sgd optimizer.momentum=0.9 train.steps=9
says_not "begins at zero" "the momentum is kept"
cp -r "$work/sgd-1" "$work/sgd-kept"; unread=0
for n in 4 5 6 7 8 9 10; do # files opened at the start
    rm -rf "$work/sgd-2"; cp -r "$work/sgd-kept" "$work/sgd-2"
    CARAT_FAULT=h5x.open:0:$n train 1 sgd-2 optimizer.name=sgd optimizer.momentum=0.9 train.steps=10 >"$work/out" 2>&1
    says_not "begins at zero" "a file that cannot be opened is not one without momentum"
    unread=$((unread + $(grep -c '^carat: .*step-000000009.h5: cannot open' "$work/out")))
done
checks=$((checks + 1)); [ "$unread" -ge 3 ] || failed "only $unread starts failed to open the checkpoint"
ok "sgd without momentum again" train 1 sgd-1 optimizer.name=sgd train.steps=10

ok "a schedule beside an average" "$carat" plan "$work/job.yaml" run.dir="$work/plan" \
    optimizer.name=schedule_free schedule.name=cosine
says 'warning: optimizer.name schedule_free.*set schedule.name=constant' "which schedule to take"
ok "a rate beside a rule that finds it" "$carat" plan "$work/job.yaml" run.dir="$work/plan" \
    optimizer.name=prodigy
says 'warning: optimizer.name prodigy.*set optimizer.lr=1' "which rate to take"

# The plan's checkpoint is the one that is written.
for name in muon adafactor sgd prodigy; do
    ok "plan of $name" "$carat" plan "$work/job.yaml" run.dir="$work/$name-1" optimizer.name=$name \
        optimizer.lr=1 --json
    planned=$(value memory.checkpoint_bytes)
    file=$(find "$work/$name-1/checkpoints" -name 'step-*.h5' | sort | tail -1)
    checks=$((checks + 1))
    awk -v p="$planned" -v s="$(stat -c %s "$file")" 'BEGIN { exit !(s > p && s < p * 1.4 + 60000) }' ||
        { failures=$((failures + 1)); echo "FAILED: $name: $(stat -c %s "$file") bytes, planned $planned"; }
done

conclude
