#!/usr/bin/env bash
# timeout: 300
# A batch that grows, and the settings that follow it: the same bits on any number of ranks and
# across stops in every stage; what is printed and what is refused.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

plan() { timeout 60 "$carat" plan "$work/job.yaml" --gflops 1 "$@"; }

cat >"$work/job.yaml" <<YAML
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 40, layers: 2, heads: 4, kv_heads: 2, head_dim: 12, ffn: 72}
batch: {global: 11, micro: 2, seq_len: 33, ramp: "0:2 2 steps:5 400tok:8 25 samples:11"}
train: {tokens: 1700, log_every: 1}
optimizer: {lr: 3e-3}
scaling: {rule: half_life, base_batch: 4}
schedule: {warmup: 3 steps}
checkpoint: {every: 100}
validate: {samples: 5}
YAML
exits 0 "prepare" "$carat" prepare src include -o "$work/tokens.h5" --train-tokenizer 400

# The plan and the run agree: 2 steps of 2, of 5 (14 ≥ 400/33), of 8 (30 ≥ 25), of 11 (52 ≥ 1700/33).
exits 0 "plan" plan
says '^length +8 steps = 1.72k tokens'
says '^batch ramp +from token +batch +steps +micro-batches +peak rate$'
for row in '0 +2 +2 +1 +2.121e-03' '132 +5 +2 +3 +3.354e-03' '462 +8 +2 +4 +4.243e-03' \
    '990 +11 +2 +6 +4.975e-03'; do says "^ +$row$"; done
exits 0 "plan in JSON" bash -c "'$carat' plan '$work/job.yaml' --gflops 1 --json | python3 -c '
import json, sys; p = json.load(sys.stdin); r = p[\"batch_ramp\"]
assert [(x[\"batch\"], x[\"steps\"]) for x in r] == [(2, 2), (5, 2), (8, 2), (11, 2)]
assert p[\"tokens\"] == 52 * 33 and p[\"warnings\"] == []
assert abs(sum(x[\"steps\"] * x[\"step_s\"] for x in r) - p[\"run_s\"]) < 1e-9'"
exits 0 "rates" plan --lr-curve
cp "$work/out" "$work/curve"
says '^3,297,'; says '^8,1716,'

exits 0 "one rank" train 1 n1
says '^batch ramp +from token'
for n in 2 3 4; do
    exits 0 "$n ranks" train $n "n$n"
    exits 0 "the same bits on 1 and $n ranks" "$carat" diff "$work/n1" "$work/n$n"
done
exits 0 "the planned rates" bash -c "diff <(tail -n +2 '$work/curve' | cut -d, -f3) \
    <('$carat' inspect '$work/n3' --csv | awk -F, 'NR == 1 {for (i = 1; i <= NF; i++) if (\$i == \"lr\") k = i; next}
    {printf \"%.10g\\n\", \$k}')"

# One step at a time, each on another number of ranks.
for step in $(seq 7); do
    mkdir -p "$work/cut"; touch "$work/cut/stop"
    exits 75 "stopped after step $step" train $((step % 4 + 1)) cut
done
exits 0 "to the end" train 2 cut
exits 0 "the same bits across 7 stops" "$carat" diff "$work/n1" "$work/cut"
exits 0 "no ramp" train 2 plain batch.ramp=
exits 1 "a ramp makes a difference" "$carat" diff "$work/n1" "$work/plain"

# Another batch from the middle on: what is consumed decides how long the run goes on.
mkdir -p "$work/other"; touch "$work/other/stop"
exits 75 "one step" train 1 other batch.ramp= batch.global=30 schedule.warmup=0
exits 0 "then smaller ones" train 1 other batch.ramp= batch.global=11 schedule.warmup=0
says 'resumed .*step 1 of 3'

# AdaScale measures its gain and with it the run's length: the same on any ranks and across a stop.
gain=(scaling.rule=adascale noise.every=1 batch.ramp= schedule.warmup=0 schedule.name=constant)
exits 0 "adascale in the plan" plan "${gain[@]}"
says '^steps +5 at a gain of 2.75, up to 14 at a gain of 1'
for n in 1 2 3; do exits 0 "adascale on $n ranks" train $n "gain$n" "${gain[@]}"; done
for n in 2 3; do exits 0 "its bits on $n ranks" "$carat" diff "$work/gain1" "$work/gain$n"; done
mkdir -p "$work/gaincut"; touch "$work/gaincut/stop"
exits 75 "adascale is stopped" train 3 gaincut "${gain[@]}"
touch "$work/gaincut/stop"
exits 75 "and again" train 2 gaincut "${gain[@]}"
exits 0 "and goes on" train 1 gaincut "${gain[@]}"
exits 0 "its bits across stops" "$carat" diff "$work/gain1" "$work/gaincut"
exits 0 "adascale's rates" bash -c "'$carat' inspect '$work/gain1' --csv | awk -F, '
    NR == 1 {for (i = 1; i <= NF; i++) if (\$i == \"lr\") k = i; next}
    NR == 2 && \$k != 0.003 {print \"the first is not the base\"; exit 1}
    NR > 2 && (\$k <= 0.003 || \$k > 0.003 * sqrt(2.75) * 1.000001) {print \$k; exit 1}
    END {if (NR - 1 < 6 || NR - 1 > 13) {print NR - 1 \" steps\"; exit 1}}'"

for bad in 'batch.ramp=0:2 x' 'batch.ramp=0:1 5 steps:11' 'batch.ramp=0:4 5 steps:9' \
    'batch.ramp=0:4 9 steps:8 5 steps:11' 'batch.ramp=0:0 5 steps:11' 'batch.ramp=5 steps:11'; do
    exits 78 "$bad" plan "$bad"; says 'batch\.ramp'
done
exits 78 "before a run too" train 2 none "batch.ramp=0:2"
says 'set batch.global=2'
exits 78 "a base of zero" plan scaling.base_batch=0; says 'scaling.base_batch is 0'
exits 78 "no average left" plan scaling.rule=malladi batch.global=44 batch.ramp=
says 'set scaling.rule=half_life'
exits 78 "no noise scale" plan scaling.rule=surge; says 'scaling.noise_scale'
exits 78 "an unknown rule" plan scaling.rule=half_live; says 'did you mean "half_life"'
exits 0 "a run that ends before its ramp" plan train.steps=6; says 'warning: batch.ramp ends after the run'
exits 0 "linear for AdamW" plan scaling.rule=linear; says 'warning: scaling.rule linear overshoots'
exits 0 "beyond the noise scale" plan scaling.noise_scale=10; says 'warning: .*above scaling.noise_scale'
exits 0 "no base" plan batch.ramp= scaling.base_batch=-1; says 'warning: .*base_batch is not set'
exits 0 "bench measures batch.global" timeout 120 "$carat" bench "$work/job.yaml" --steps 1 --json
says '"batch_global": 11'

conclude
