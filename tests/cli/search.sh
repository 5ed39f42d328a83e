#!/usr/bin/env bash
# timeout: 300
# carat search: the same trials by one worker, by two side by side and after a kill; bad trials leave
# the others unharmed; what is refused, and what is printed and written.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

search() { # RANKS STUDY key=value|OPTION...
    local n=$1 study=$2; shift 2
    on_ranks "$n" "$carat" search "$work/job.yaml" study.dir="$work/$study" "$@"
}
trials() { # STUDY: what must not depend on who worked
    python3 - "$work/$1/results.csv" <<'END'
import csv, sys
keep = ("trial", "number", "state", "value", "loss", "steps", "tokens", "optimizer.lr")
for row in csv.DictReader(line for line in open(sys.argv[1]) if not line.startswith("#")):
    print({k: v for k, v in row.items() if k in keep})
END
}
same() { # STUDY STUDY
    checks=$((checks + 1))
    trials "$1" >"$work/out" 2>&1; trials "$2" >"$work/other" 2>&1
    [ "$(wc -l <"$work/out")" -ge 4 ] && cmp -s "$work/out" "$work/other" && return
    cat "$work/other" >>"$work/out"; failed "trials of $1 and $2 differ"
}
json() { # WHAT PYTHON: of the result r, which the last command wrote
    checks=$((checks + 1))
    python3 -c "import json, sys
text = open('$work/out').read()
r = json.loads(text[text.index('{\n'):])
$2" >>"$work/out" 2>&1 || failed "$1"
}

python3 - >"$work/text.txt" <<'END'
words = "the cat sat on a mat and then ran away from a dog who was big".split()
for i in range(1500):
    print(" ".join(words[(i * i + j * (i % 5 + 1)) % len(words)] for j in range(9)) + ".")
END
ok "a store" "$carat" prepare "$work/text.txt" -o "$work/tokens.h5" --train-tokenizer 300
cat >"$work/job.yaml" <<END
# A small job; its comments stay.
run: {dir: $work/run}
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 24, layers: 1, heads: 2, kv_heads: 1, head_dim: 12, ffn: 32}
batch: {global: 6, micro: 2, seq_len: 24}
train: {steps: 60}
optimizer:
  lr: 1e-3   # to be found
validate: {samples: 8}
checkpoint: {every: 20}
search:
  space: {optimizer.lr: log 1e-4 3e-1}
  rule: tpe
  trials: 6
  startup: 2
  prune: median
  milestones: 2
study: {ahead: 2, stale: 30s}
END

# What is refused leaves no folder.
exits 78 "a space of unknown keys" search 1 none search.space="optimizer.ls log 1e-4 1"
says "did you mean"
exits 78 "too many ranks asked for" search 1 none study.ranks=2
says "study.ranks is 2"
ok "a plan" search 1 none --plan
says "cost +6 trials"
says "core-hours"
ok "no folder" test ! -e "$work/none"

# The same trials whoever works.
ok "one worker" search 1 one --json --write "$work/best.yaml"
json "results" "
assert len(r['trials']) == 6 and r['trials'][r['best']]['loss'] == min(
    t['loss'] for t in r['trials'] if t['state'] == 'done')
assert all(t['state'] in ('done', 'pruned') for t in r['trials'])
assert set(r['importance']) == {'optimizer.lr'}"
ok "the best rate is in the job" grep -qE "lr: [0-9.e-]+ +# to be found" "$work/best.yaml"
ok "the job still loads" "$carat" train "$work/best.yaml" --print-config
ok "two workers" search 2 two study.ranks=1
says "2 workers of 1 rank"
same one two

# Killed in its third trial; the rest is done by the next one.
"$carat" search "$work/job.yaml" study.dir="$work/killed" >"$work/out" 2>&1 </dev/null &
pid=$!
for _ in $(seq 600); do
    compgen -G "$work/killed/trials/000002/run/checkpoints/step-*" >/dev/null && break; sleep 0.02
done
kill -9 $pid; wait $pid 2>/dev/null
ok "after a kill" search 1 killed
same one killed
ok "once more" search 1 killed
says "6 done|[0-9] pruned, [0-9] done"

# Stopped by a signal: saved, and exit 75.
"$carat" search "$work/job.yaml" study.dir="$work/stopped" train.steps=100000 search.trials=1 \
    search.prune=none >"$work/out" 2>&1 </dev/null &
pid=$!
for _ in $(seq 600); do
    compgen -G "$work/stopped/trials/000000/run/checkpoints/step-*" >/dev/null && break; sleep 0.02
done
kill -TERM $pid; wait $pid; rc=$?
ok "exit 75 after a signal" test $rc -eq 75
checks=$((checks + 1))
compgen -G "$work/stopped/trials/000000/end.json" >/dev/null && failed "a stopped trial has ended"

# Others' studies, and trials more.
exits 78 "another job in the folder" search 1 one optimizer.weight_decay=0.3
says "optimizer.weight_decay was 0.1 and is 0.3"
ok "trials more" on_ranks 1 "$carat" search "$work/one" search.trials=7
ok "seven trials" test -e "$work/one/trials/000006/end.json"

# Bad trials harm no others.
ok "a grid with bad points" search 1 grid search.rule=grid search.prune=none --json \
    search.space="optimizer.lr choice 1e-2 1000; model.kv_heads choice 1 3" \
    optimizer.clip_norm=0 monitor.nonfinite=stop
json "states" "
assert [t['state'] for t in r['trials']] == ['done', 'failed', 'diverged', 'failed'], r
assert 'kv_heads' in r['trials'][1]['why']"
exits 76 "nothing but divergence" search 1 diverged search.rule=grid search.prune=none \
    search.space="optimizer.lr choice 900 1000" optimizer.clip_norm=0 monitor.nonfinite=stop
says "no trial came to its end"
conclude
