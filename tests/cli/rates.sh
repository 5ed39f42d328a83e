#!/usr/bin/env bash
# timeout: 600
# Layer-wise rates, frozen tensors, muP and regularisation: the same bits on any number of ranks and
# across a resume on others; what is refused; that each of them does something.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

plan() { "$carat" plan "$work/job.yaml" --gflops 10 "$@"; }

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 40, layers: 3, heads: 4, kv_heads: 2, head_dim: 12, ffn: 72,
        window: 9, window_pattern: 2}
batch: {global: 7, micro: 2, seq_len: 33}
train: {steps: 6, log_every: 1}
optimizer: {lr: 3e-3}
schedule: {warmup: 25%}
checkpoint: {every: 3, keep: 9}
validate: {every: 6, samples: 11}
END
ok "prepare" "$carat" prepare src/kern include -o "$work/tokens.h5" --train-tokenizer 400

# One at a time; and all together on 1, 2, 3 and 5 ranks, and from 2 ranks to 4 in the middle.
ok "plain" train 2 plain
i=0
while read -r keys; do
    i=$((i + 1))
    # shellcheck disable=SC2086
    ok "1 rank: $keys" "$carat" train "$work/job.yaml" run.dir="$work/a$i-1" $keys
    exits 1 "it does something: $keys" "$carat" diff "$work/plain" "$work/a$i-1"
done <<'END'
regularize.dropout=0.2
regularize.label_smoothing=0.1
regularize.z_loss=1e-3
regularize.l1=1e-4
regularize.l2=1e-2
optimizer.clip_value=1e-3
optimizer.clip_adaptive=0.02
rates.layer_decay=0.5
rates.freeze=embed,0
rates.mup_base=20
END
all=(regularize.dropout=0.2 regularize.label_smoothing=0.1 regularize.z_loss=1e-3 regularize.l1=1e-4
    regularize.l2=1e-2 optimizer.clip_value=1e-3 optimizer.clip_adaptive=0.02 rates.layer_decay=0.9
    rates.layers=1-2:0.5 rates.tensors='*.mlp.*:0.7' rates.norms=0.5 rates.freeze='0,*.k_norm.*'
    rates.mup_base=20)
for n in 1 2 3 5; do ok "all of them on $n" train $n "all$n" "${all[@]}"; done
for n in 2 3 5; do ok "weights of 1 and $n ranks" "$carat" diff "$work/all1" "$work/all$n"; done
ok "pretended nodes" env CARAT_RANKS_PER_NODE=2 timeout 120 mpirun -n 3 "$carat" train \
    "$work/job.yaml" run.dir="$work/nodes" "${all[@]}"
ok "its weights" "$carat" diff "$work/all1" "$work/nodes"
ok "whole state on every rank" train 3 whole parallel.shard=none "${all[@]}"
ok "its weights" "$carat" diff "$work/all1" "$work/whole"
ok "computed again" train 2 again memory.recompute=full "${all[@]}"
ok "its weights" "$carat" diff "$work/all1" "$work/again"
mkdir -p "$work/cut" && touch "$work/cut/stop"
exits 75 "stopped" train 2 cut "${all[@]}"
ok "resumed on 4" train 4 cut "${all[@]}"
ok "its weights" "$carat" diff "$work/all1" "$work/cut"

# What a muP model computes is kept with it, and exported as a plain model's weights.
loss_of() { # MODEL
    "$carat" eval "$1" "$work/tokens.h5" --seq-len 33 --samples 11 --json 2>/dev/null | grep -oE '"loss": *[0-9.]+' | grep -oE '[0-9.]+'
}
ok "export" "$carat" export "$work/a10-1" -o "$work/plain-hf"
checks=$((checks + 1))
a=$(loss_of "$work/a10-1") b=$(loss_of "$work/plain-hf")
awk -v a="$a" -v b="$b" 'BEGIN {exit !(a > 0 && (a - b) ^ 2 < 1e-8 * a * a)}' ||
    { failures=$((failures + 1)); echo "FAILED: loss of a muP run $a, exported $b"; }
exits 78 "other muP for given weights" plan model.init="$work/a10-1" rates.mup_base=10
says 'rates.mup_base is 10, and the weights of model.init were trained with another' "why"
ok "the same muP for given weights" plan model.init="$work/a10-1" rates.mup_base=20

# Frozen tensors stay as they were, the others do not.
files=("$work"/a9-1/checkpoints/step-*.h5)
for name in embed_tokens layers.0.mlp.up_proj layers.0.input_layernorm; do
    ok "$name is frozen" h5diff "${files[0]}" "${files[1]}" "/params/model.$name.weight"
done
exits 1 "layer 1 is not" h5diff "${files[0]}" "${files[1]}" /params/model.layers.1.mlp.up_proj.weight

ok "plan" plan rates.layer_decay=0.5 rates.freeze=0
says '^  layer 0 +frozen' "a frozen layer"
says '^  layer 1 +matrices × 0.5  norms × 0.5' "a layer's factor"
says '^  embedding +matrices × 0.125' "the embedding's factor"
# What is frozen is no work: without the lower layers a step is shorter and has fewer FLOPs.
plan --json >"$work/all.json"; plan --json rates.freeze=embed,0-1 >"$work/some.json"
ok "its work" python3 -c '
import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
assert b["flops_per_token"] < 0.8 * a["flops_per_token"], (a, b)
assert b["step"]["passes_s"] < 0.8 * a["step"]["passes_s"], (a["step"], b["step"])
assert b["step"]["optimizer_s"] < a["step"]["optimizer_s"]
assert b["rank_flops"] == a["rank_flops"] or abs(b["rank_flops"] / a["rank_flops"] - 1) < 1e-9' \
    "$work/all.json" "$work/some.json"
for bad in 'rates.layers=0-1:0.1 1-2:0.5' 'rates.layers=0-3:0.1' 'rates.layers=0-1' \
    'rates.tensors=*.mpl.*:0.5' 'rates.freeze=*' 'rates.freeze=norms' 'rates.layer_decay=0' \
    'rates.layer_decay=1.1' 'regularize.dropout=1' 'regularize.label_smoothing=-1'; do
    exits 78 "$bad" plan "$bad"
    says "^carat: .*${bad%%=*}" "$bad names its key"
done
exits 78 "train refuses it as well" train 2 bad rates.layers=0-3:0.1
says 'rates.layers: 0-3 goes beyond the model' "train says why"
exits 78 "muP with sgd" plan rates.mup_base=20 optimizer.name=sgd

conclude
