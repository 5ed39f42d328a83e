#!/usr/bin/env bash
# timeout: 120
# A small large-batch study from its plan to its advice: the same trials and figures by one worker, by
# two side by side, and by one that is killed and run again; targets that nothing reaches; jobs that
# no study can be made of.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

study() { # RANKS DIR arguments...
    local n=$1 dir=$2; shift 2
    on_ranks "$n" "$carat" study "$work/job.yaml" run.dir="$work/$dir" "$@"
}
# Targets, fits and laws: what depends on no time.
figures() { sed -n '/^to a loss of/,/^   batch       step/p' "$1" | grep -v 'step '; }
same() { # WHAT A B
    checks=$((checks + 1))
    [ -n "$(figures "$2")" ] && diff <(figures "$2") <(figures "$3") >"$work/diff" || { cat "$work/diff"; failed "$1 differ"; }
}

cat >"$work/job.yaml" <<YAML
data: {train: $work/tokens.h5}
model: {preset: gemma1-nano, width: 32, layers: 1, heads: 2, kv_heads: 1, head_dim: 16, ffn: 48}
batch: {global: 8, micro: 2, seq_len: 16}
train.tokens: 20000
optimizer: {lr: 3e-2}
schedule: {name: constant, warmup: 256 tokens}
validate: {samples: 16}
study: {batches: '4,8,32', targets: '4.9,4.6', rates: 3, extend: 2, center: job, seeds: 2}
YAML
words "$work/text.txt" # which rates get seeds depends on the text
ok "prepare" "$carat" prepare "$work/text.txt" -o "$work/tokens.h5" --train-tokenizer 320

ok "the plan" study 1 a --plan study.center=range study.budget=10M
says '^study +3 batches from 4 to 32, 3 rates each'
says '^cost +15 trials'
says 'core-hours'
checks=$((checks + 1)); [ ! -e "$work/a-study" ] || failed "--plan made a folder"

ok "a study" study 1 a --write "$work/best.yaml"
cp "$work/out" "$work/one"
says '^to a loss of 4\.9'
says '^critical batch +[0-9.]+ .*Smin .*Emin'
says '^best rate +lr ~ B\^'
says '^ +32 +1 .*ms'
says '^advice +Train with batches of [0-9]+ sequences .* learning rate'
ok "the advised job" "$carat" plan "$work/best.yaml"
ok "again: nothing is left to do" study 1 a
same "figures of a second command" "$work/one" "$work/out"

ok "two workers" study 2 b study.ranks=1
same "figures of two workers" "$work/one" "$work/out"

# Killed on the way, whenever: the same command goes on.
timeout -s KILL 1.5 "$carat" study "$work/job.yaml" run.dir="$work/c" >"$work/out" 2>&1 </dev/null
ok "after a kill" study 1 c study.stale=1s
same "figures after a kill" "$work/one" "$work/out"

ok "as JSON" study 1 a --json
checks=$((checks + 1))
python3 - "$work/out" <<'PY' >"$work/why" 2>&1 || { cp "$work/why" "$work/out"; failed "JSON"; }
import json, sys
text = open(sys.argv[1]).read()
r = json.loads(text[text.index("\n{") if not text.startswith("{") else 0:])["result"]
assert [t["loss"] for t in r["targets"]] == [4.9, 4.6]
assert [b["batch"] for b in r["batches"]] == [4, 8, 32]
assert r["advice"]["batch"] in (4, 8, 32) and r["advice"]["lr"] > 0
low = r["batches"][0]["targets"][1]
assert low["seeds"] == 2 and abs(low["examples"] - 4 * low["steps"]) < 1e-6
PY

ok "range tests and times" study 2 d study.batches=4,16 study.center=range study.seeds=1 study.extend=0 \
    study.rank_counts=1,2,4
says '^ +16 +2 ' "ways on two ranks"
says 'batch 16 on 4 ranks: no step time was measured'
says 'at the edge of its grid|critical batch'

exits 78 "a target that no trial reaches" study 1 e study.targets=0.5 study.seeds=1 study.extend=0 \
    study.batches=8,32 train.tokens=4000
says 'study\.targets 0\.5: no trial reached it'
exits 78 "no targets" study 1 f study.targets=
says 'study\.targets is not set'
exits 78 "a budget too small" study 1 f study.budget=1000
says 'study\.budget'
exits 78 "a ramp" study 1 f batch.ramp="4:0 8:1000tok"
says 'batch\.ramp'
exits 78 "another job in the folder" study 1 a study.batches=4,8
checks=$((checks + 1)); [ ! -e "$work/f-study" ] || failed "a refused job left a folder"
conclude
