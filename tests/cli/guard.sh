#!/usr/bin/env bash
# Silent errors end to end: replicas that differ end a job, a step that a machine got wrong is undone.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 40, layers: 2, heads: 4, kv_heads: 2, head_dim: 12, ffn: 72}
batch: {global: 8, micro: 2, seq_len: 33}
train: {steps: 12}
checkpoint: {every: 4}
validate: {every: 0}
END
words "$work/text.txt" # what is a spike depends on the text
ok "prepare" "$carat" prepare "$work/text.txt" -o "$work/tokens.h5" --train-tokenizer 320
struck() { # FAULT RANKS RUN key=value...
    local fault=$1; shift
    CARAT_FAULT=$fault train "$@"
}

# One bit of one replica, in step 6: the last checkpoint is that of step 4.
exits 69 "a flipped bit" struck replica.flip:1:6 3 flipped parallel.share_params=off
says 'after step 5 model\..* has other bits on some ranks, and wrong is rank 1 on ' "tensor and rank"
says 'restart from the newest checkpoint without it' "what to do"
ok "the event" "$carat" inspect "$work/flipped" --events
says 'step 5, attempt 0, replica: stop' "where it was seen"
exits 0 "what failed is recorded" grep -q '"code": 69' "$work/flipped/FAILED"
exits 1 "nothing newer was saved" test -e "$work/flipped/checkpoints/step-000000008.h5"
ok "going on" train 3 flipped parallel.share_params=off
ok "undisturbed" train 2 sound
ok "the same weights" "$carat" diff "$work/sound" "$work/flipped"

# A gradient that one rank got wrong once, and one that is wrong by its numbers.
ok "an error in step 7" struck grad:1:13 2 undone noise.every=1
says 'step 7: computed again, .* two of three results agree .* the gradient computed by rank 1 on ' \
    "whose it was"
ok "as if it had not been" "$carat" diff "$work/sound" "$work/undone"
ok "a rate that is too high" train 2 high optimizer.lr=1 monitor.spike_window=4 monitor.spike_sigma=1
says 'computed again it has the same bits: not the hardware but data or rate' "what is to blame"

conclude
