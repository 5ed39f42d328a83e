#!/usr/bin/env bash
# timeout: 120
# `carat inspect RUN --follow`: the steps of a live run as they come, over its attempts.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 16, layers: 2, heads: 2, kv_heads: 1, head_dim: 8, ffn: 24}
batch: {global: 4, micro: 1, seq_len: 16}
train: {steps: 600}
checkpoint: {every: 100}
validate: {every: 200, samples: 4}
END
ok "prepare" "$carat" prepare src/base -o "$work/tokens.h5" --train-tokenizer 400
until_rows() { # N: so many lines of the follower
    for _ in $(seq 300); do [ "$(wc -l <"$work/live")" -ge "$1" ] && return; sleep 0.1; done
    return 1
}
steps() { grep -o '"step":[0-9]*' "$1" | cut -d: -f2; }

# From before the first row to the end of a run that is stopped and goes on.
mkdir -p "$work/run"; : >"$work/live"
timeout 60 "$carat" train "$work/job.yaml" run.dir="$work/run" >"$work/train.log" 2>&1 &
trainer=$!
for _ in $(seq 100); do [ -e "$work/run/lock" ] && break; sleep 0.05; done
timeout 60 "$carat" inspect "$work/run" --follow --json >"$work/live" 2>"$work/live.err" &
follower=$!
ok "rows come while it trains" until_rows 3
wait $trainer
ok "it ends with the run" wait $follower
ok "each step once, then with its validation" diff <(seq 600) <(steps "$work/live" | uniq)
ok "validation figures" test "$(grep -c '"valid_loss"' "$work/live")" -eq 3
ok "whole lines" test "$(grep -c '^{.*}$' "$work/live")" -eq "$(wc -l <"$work/live")"

# Of a run that has ended: its last rows; nobody is waited for.
ok "the last rows" timeout 20 "$carat" inspect "$work/run" --follow
says '^ +step +loss' "names"
says '^ +600 .*[0-9]$' "the last step, with its validation"
ok "ten of them" test "$(wc -l <"$work/out")" -eq 11
ok "another attempt" on_ranks 2 "$carat" train "$work/job.yaml" run.dir="$work/run" train.steps=605
ok "both attempts" timeout 20 "$carat" inspect "$work/run" --follow
says '^attempt 1 goes on from step 600' "where it went on"
says '^ +605 ' "its last step"

ok "the durable step" "$carat" inspect "$work/run"
says '^durable_step +605' "is the last one of a run that has ended"

# Ctrl-C ends it well, and a run without rows is said to be none.
mkdir -p "$work/empty/checkpoints" "$work/empty/metrics"
ok "no rows" "$carat" inspect "$work/empty" --follow
says 'has no rows, and nobody is at work' "which is said"
cp "$work/run/job.yaml" "$work/empty/" 2>/dev/null
"$carat" train "$work/job.yaml" run.dir="$work/long" train.steps=1000000 >/dev/null 2>&1 &
trainer=$!
for _ in $(seq 100); do [ -e "$work/long/lock" ] && break; sleep 0.05; done
ok "Ctrl-C" timeout --preserve-status -s INT 1 "$carat" inspect "$work/long" --follow
kill -USR1 $trainer; wait $trainer
exits 64 "a file is no run" "$carat" inspect "$work/tokens.h5" --follow
conclude
