#!/usr/bin/env bash
# timeout: 300
# Monitoring end to end: measures and actions are the same on any number of ranks and across stops.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

curve() { # all columns but times and attempts
    "$carat" inspect "$work/$1" --csv 2>/dev/null | awk -F, 'NR==1 {for (i = 1; i <= NF; i++)
        if ($i !~ /^(attempt|step_s|tokens_per_s|peak_fraction)$/) keep[i] = 1}
        {line = ""; for (i = 1; i <= NF; i++) if (i in keep) line = line "," $i; print line}'
}
same_curve() { [ -n "$(curve "$1")" ] && [ "$(curve "$1")" = "$(curve "$2")" ]; }
# What happened, but for the attempt and the checksum over it.
events() { sed 's/"attempt":[0-9]*,//; s/,"crc32c.*//' "$work/$1/metrics/events.jsonl"; }
same_events() { [ -n "$(events "$1")" ] && [ "$(events "$1")" = "$(events "$2")" ]; }
measured() { # RUN COLUMN: a figure in the last row
    "$carat" inspect "$work/$1" --csv | awk -F, -v c="$2" 'NR==1 {for (i = 1; i <= NF; i++) if ($i == c) at = i}
        {last = $at} END {exit !(at && last != "" && last == last + 0)}'
}

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5, boundary: attention}
model: {preset: gemma3-nano, width: 40, layers: 3, heads: 4, kv_heads: 2, head_dim: 12, ffn: 72}
batch: {global: 7, micro: 2, seq_len: 33}
train: {steps: 24}
optimizer: {lr: 3e-3}
schedule: {warmup: 10%}
checkpoint: {every: 8, keep: 9}
validate: {every: 8, samples: 11}
noise: {every: 1}
monitor: {repeat: off} # faults here strike once: computed again, the step would be sound
END
ok "prepare" "$carat" prepare src include -o "$work/tokens.h5" --train-tokenizer 400

# Figures, whatever the ranks and the interruptions.
ok "one rank" train 1 n1
for column in perplexity loss_smooth batch update_ratio clip_rate attention_logit noise_scale \
    noise_error critical_batch noise_trace noise_signal; do
    ok "$column is measured" measured n1 $column
done
ok "three ranks" train 3 n3
ok "the same figures" same_curve n1 n3
ok "layers in the merged file" h5dump -d /layers/update_ratio -d /layers/grad_norm "$work/n3/metrics.h5"
says '24, 5' "rows of embedding, layers and final norm"
exits 75 "a stop" train 2 cut train.time_limit=0.01s
ok "going on elsewhere" train 3 cut
ok "the same figures after a stop" same_curve n1 cut

# A gradient that is not finite in step 13, in the second of the four micro-batches.
nan() { # RANKS RUN ACTION...
    local n=$1 run=$2; shift 2
    case $n in 1) fault=grad:0:50;; 2) fault=grad:0:26;; 3) fault=grad:1:13;; 4) fault=grad:1:13;; esac
    CARAT_FAULT=$fault train "$n" "$run" "$@"
}
for n in 1 2 3 4; do
    ok "left out on $n" nan $n "skip$n"
    says 'step 13: the loss is .*the update is left out; lower optimizer.lr' "what and what to do, $n"
    ok "going back on $n" nan $n "back$n" monitor.nonfinite=back
    says 'went back from step 13 to step 8 .*35 samples .*from sample 56 on' "what is left out, $n"
    exits 76 "stopped on $n" nan $n "stop$n" monitor.nonfinite=stop
done
for n in 2 3 4; do
    for action in skip back; do
        ok "weights, $action on $n" "$carat" diff "$work/${action}1" "$work/$action$n"
        ok "figures, $action on $n" same_curve ${action}1 $action$n
    done
    for action in skip back stop; do ok "events, $action on $n" same_events ${action}1 $action$n; done
done
ok "the merged file has the events" h5dump -d /events/text "$work/stop2/metrics.h5"
says 'the run ends here' "why it ended"
ok "inspect" "$carat" inspect "$work/back3"
says 'events +2' "how many events"
says 'last_event +went back from step 13' "the last of them"
ok "the samples of the events" "$carat" inspect "$work/back3" --events
says 'step 13, attempt 1, back: back' "that it went back"
says '^  sample ids( [0-9]+){35}$' "which samples are left out"
ok "a run without any" "$carat" inspect "$work/n1" --events
says '^no events$' "that there are none"
ok "verify" "$carat" verify "$work/back3"
says 'whole .*events.jsonl' "the events are verified"
cp -r "$work/back3" "$work/torn"
printf '{"step":1' >>"$work/torn/metrics/events.jsonl"
ok "a torn end" "$carat" verify "$work/torn"
printf '}\n' >>"$work/torn/metrics/events.jsonl"
exits 65 "a bad line" "$carat" verify "$work/torn"
says '1 of 3 lines' "how many are bad"

# What going back has changed is in the checkpoints: a run that ends and goes on keeps to it.
back="monitor.nonfinite=back schedule.name=constant schedule.warmup=3steps"
ok "going back at once" nan 1 whole $back
ok "going back, then the end" nan 2 parts $back train.steps=14
ok "going on" train 3 parts $back
ok "the same weights" "$carat" diff "$work/whole" "$work/parts"

# What has diverged ends the run, with its row and its sentence.
exits 76 "diverged" train 2 diverged optimizer.lr=1 optimizer.clip_norm=0 schedule.warmup=0 \
    schedule.name=constant train.steps=300 monitor.diverged_steps=20
says 'smoothed loss of .* has been above its (start|best)' "what it saw"
# Going back needs a checkpoint from before the trouble, which two kept ones do not reach.
diverge="optimizer.lr=1 optimizer.clip_norm=0 schedule.warmup=0 schedule.name=constant train.steps=60
    monitor.diverged=back monitor.diverged_steps=20 monitor.back_most=1 checkpoint.every=4 checkpoint.keep=2"
for n in 1 3; do
    ok "a divergence, on $n" train $n "trouble$n" $diverge
    says 'covers less than the 20 steps' "that more is kept, $n"
    says 'went back from step [0-9]+ to step [0-4] ' "before the trouble, $n"
    checks=$((checks + 1))
    ! grep -q 'no checkpoint is left from before' "$work/out" || {
        failures=$((failures + 1)); echo "FAILED: the checkpoint before the trouble was deleted, $n"; }
done
ok "the same events" same_events trouble1 trouble3

# What changes where something goes by it is not called safe, and measurements then tell runs apart.
ok "a run that skips spikes" train 1 acts monitor.spike=skip monitor.spike_window=8 noise.every=1
ok "and its longer self" train 1 acts monitor.spike=skip monitor.spike_window=8 monitor.nonfinite=back \
    checkpoint.keep=8 train.steps=25
says 'checkpoint.keep: 9 -> 8 \(the run takes another path' "that keep decides"

# What only learns no more ends with its weights saved.
exits 76 "a plateau" train 2 level monitor.plateau=stop optimizer.lr=1e-9 train.steps=2000 \
    checkpoint.every=0 validate.every=0
says 'may have stopped falling' "what it saw"
ok "the level run's weights" "$carat" verify "$work/level"
ok "they are there" compgen -G "$work/level/checkpoints/step-*.h5"
# A gradient that is left out leaves the noise scale as it was.
for action in skip warn; do
ok "a spike: $action" env CARAT_FAULT=grad.spike:1:30 timeout 120 mpirun -n 2 "$carat" train \
    "$work/job.yaml" run.dir="$work/spike.$action" monitor.spike=$action monitor.spike_window=6 noise.every=1
says 'standard deviations above' "that it was seen: $action"
checks=$((checks + 1))
"$carat" inspect "$work/spike.$action" --csv | awk -F, 'NR==1 {for (i = 1; i <= NF; i++) if ($i == "noise_trace") at = i; next}
    $at > most {most = $at} {last = $at} END {exit !(last > 0 && most < 100 * last)}' || {
    failures=$((failures + 1)); echo "FAILED: a spike entered the noise scale: $action"; }
done
exits 78 "an unknown action" train 1 no monitor.spike=jump
says 'monitor.spike' "the key is named"

conclude
