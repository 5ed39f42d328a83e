#!/usr/bin/env bash
# timeout: 300
# The run folder under adversity: two jobs, starts that come to nothing, time limits, and errors that
# end all ranks alike.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 16, layers: 1, heads: 2, kv_heads: 1, head_dim: 8, ffn: 16}
batch: {global: 4, micro: 1, seq_len: 16}
train: {steps: 6, log_every: 1}
checkpoint: {every: 2, async: off}
validate: {every: 3, samples: 4}
sample: {every: 0}
END
ok "prepare" "$carat" prepare src include -o "$work/tokens.h5" --train-tokenizer 400
is() { # WHAT TEST...
    local what=$1; shift
    checks=$((checks + 1))
    "$@" || failed "$what"
}
newest() { find "$work/$1/checkpoints" -name 'step-*.h5' | sort | tail -n 1; }

# A holder that was stopped, robbed and woken publishes nothing more, and leaves the robber's lock.
train 1 robbed train.steps=1000000 checkpoint.every=20 >"$work/robbed.log" 2>&1 &
for _ in $(seq 200); do [ -n "$(newest robbed 2>/dev/null)" ] && break; sleep 0.05; done
pid=$(awk '{print $2}' "$work/robbed/lock")
kill -STOP "$pid"
exits 78 "a stopped holder is there" train 1 robbed
says 'in use by process .* last sign of life [0-9]+ s ago' "who holds the folder"
touch -d '11 minutes ago' "$work/robbed/lock"
echo 'elsewhere 1 - 0 1 boot 1 -' >"$work/robber" # a live holder that cannot be looked at
mv "$work/robber" "$work/robbed/lock"
published() { find "$work/robbed" -name '*.h5' ! -path '*/metrics/*' | sort; cat "$work/robbed/checkpoints/latest"; }
before=$(published)
kill -CONT "$pid"; wait
is "it publishes nothing" [ "$before" = "$(published)" ]
is "no FAILED in the other's folder" [ ! -e "$work/robbed/FAILED" ]
is "its last words" [ "$(grep -c "carat: another job took the run folder's lock" "$work/robbed.log")" = 1 ]
is "the other's lock stays" grep -q '^elsewhere' "$work/robbed/lock"
touch -d '11 minutes ago' "$work/robbed/lock"
ok "a silent holder is replaced" train 1 robbed train.steps="$((10#$(newest robbed | tr -dc 0-9 | tail -c 10 | head -c 9) + 1))"
says 'no sign of life for more than 10 minutes' "why it is taken over"

# Two real jobs for one folder.
for i in 1 2 3; do
    for j in a b; do train 1 race train.steps=$((6 * i)) >"$work/race.$j" 2>&1 & done
    wait
    is "race $i has a winner" grep -q '^done' "$work/race.a" "$work/race.b"
done

# A checkpoint that ends every run that starts from it is set aside at the fourth start.
ok "a run" train 1 loop
for i in 1 2 3; do
    exits 137 "start $i is killed" env CARAT_FAULT=store.read:0:1:kill "$carat" train "$work/job.yaml" run.dir="$work/loop" train.steps=8
done
says 'resumed .*step 6 of 8' "it starts from the newest"
ok "the fourth start goes on from the next older" train 1 loop train.steps=8
says 'step-000000006.h5 in a row ended|3 starts from .*step-000000006.h5 in a row' "what is passed over"
says 'resumed .*step 4 of 8' "the older one"
is "the file is kept" [ -e "$work/loop/checkpoints/step-000000006.h5.failed" ]
is "the count is gone" [ ! -e "$work/loop/checkpoints/restart" ]
ok "inspect tells" "$carat" inspect "$work/loop"
says 'failed_restarts|failed restarts' "how many were set aside"
for i in 1 2 3 4; do
    exits 78 "wrong settings are not the checkpoint's fault" train 1 loop model.width=32
done
is "nothing is set aside for them" [ ! -e "$work/loop/checkpoints/step-000000008.h5.failed" ]

# A start that is cut is not the checkpoint's fault: by its time limit, in its first step or in the
# save that is to keep it, or soon after a signal.
newest_stays() { # WHAT
    is "$1: the checkpoint is not blamed" [ -e "$work/cut/checkpoints/step-000000006.h5" ]
    is "$1: nor counted against" [ ! -e "$work/cut/checkpoints/restart" ]
}
cut() { timeout -s KILL 60 "$carat" train "$work/job.yaml" run.dir="$work/cut" train.steps=20 "$@"; }
within() { for _ in $(seq 400); do "$@" && return; sleep 0.05; done; return 1; }
missing() { [ ! -e "$1" ]; }
begin_cut() { "$carat" train "$work/job.yaml" run.dir="$work/cut" train.steps=20 "$@" >"$work/out" 2>&1 & }
ok "a run" train 1 cut
counted=$work/cut/checkpoints/restart noted=$work/cut/checkpoints/times
for point in phase.load phase.compute phase.save; do
    rm -f "$noted"
    CARAT_FAULT=$point:0:1:hang begin_cut train.time_limit=1.5s
    is "cut in $point: noted" within test -e "$noted"
    kill -KILL $!; wait $! 2>/dev/null
    newest_stays "$point"
    exits 78 "the next is refused" cut train.time_limit=1.5s
    says 'time_limit 1.5 s is too short to gain a step: after [0-9.]+ s the last start was not through' "with the numbers"
    newest_stays "refused after $point"
done
rm "$noted"
CARAT_FAULT=phase.compute:0:1:hang begin_cut
is "a start is counted" within test -e "$counted"
kill -TERM $!
is "until it is asked to end" within missing "$counted"
kill -KILL $!; wait $! 2>/dev/null
newest_stays "after a signal"
CARAT_FAULT=phase.compute:0:1:kill exits 137 "killed before anything" cut
is "is counted" grep -q 'step 6 tries 1' "$work/cut/checkpoints/restart"
echo "ranks 1 startup_s 50 step_s 1 save_s 1" >"$work/cut/checkpoints/times"
exits 78 "a refusal in between" cut train.time_limit=10s
is "is another start's and takes none back" grep -q 'step 6 tries 1' "$work/cut/checkpoints/restart"
CARAT_FAULT=phase.load:0:1:stop "$carat" train "$work/job.yaml" run.dir="$work/cut" train.steps=20 >"$work/out" 2>&1 &
is "a start that stands still" within grep -q '^State:.*stopped' /proc/$!/status
kill -USR1 $!; kill -CONT $!; wait $!
is "asked to end while it starts: 75" [ $? = 75 ]
is "one step is gained" [ "$(newest cut)" = "$work/cut/checkpoints/step-000000007.h5" ]

# The name of the newest checkpoint is a hint: no save fails for it.
ok "latest cannot be written" env CARAT_FAULT=ckpt.latest:0:2 "$carat" train "$work/job.yaml" run.dir="$work/hint"
says 'warning: the name of the newest checkpoint was not noted: .*latest' "a warning"
says_not 'was not saved' "the save stands"
is "the next save writes it" grep -qx step-000000006.h5 "$work/hint/checkpoints/latest"

# A save whose folder could not be synced has failed, and its file is there all the same.
ok "one save's folder cannot be synced" env CARAT_FAULT=ckpt.folder:0:1 "$carat" train "$work/job.yaml" run.dir="$work/unsynced"
says 'warning: this checkpoint was not saved .*step-000000002.h5: cannot fsync its folder' "a warning"
ok "it is as whole as the others" "$carat" verify "$work/unsynced"
is "and stays as they do" [ "$(find "$work/unsynced/checkpoints" -name 'step-*' | wc -l)" = 3 ]
ok "the next save removes it in its turn" train 1 unsynced train.steps=8
is "three are kept" [ "$(find "$work/unsynced/checkpoints" -name 'step-*' | wc -l)" = 3 ]
is "not the oldest" [ ! -e "$work/unsynced/checkpoints/step-000000002.h5" ]

# Who only reads a run with a damaged checkpoint leaves its folder as it is.
ok "a run to read from" train 1 read
bytes() { find "$work/read" -type f -exec sha256sum {} + | sort; }
damaged=$(newest read); truncate -s -9 "$damaged"; before=$(bytes)
ok "eval" "$carat" eval "$work/read"
says 'warning: a checkpoint is passed over: .*step-000000006.h5' "which file is passed over"
says '^model .*step-000000004.h5' "which file is used"
says_not 'now named' "nothing is renamed"
ok "weights from it" train 1 from-read model.init="$work/read" train.steps=1
is "the folder is as it was" [ "$before" = "$(bytes)" ]
exits 137 "the run itself sets it aside" env CARAT_FAULT=store.read:0:1:kill "$carat" train "$work/job.yaml" run.dir="$work/read"
is "under another name" [ -e "$damaged.damaged" ]
is "latest names another" grep -qx step-000000004.h5 "$work/read/checkpoints/latest"
basename "$damaged" >"$work/read/checkpoints/latest"
ok "weights from it, whatever latest says" train 1 from-aside model.init="$work/read" train.steps=1
ok "the run goes on" train 1 read

# Time.
exits 75 "a short slice gains a step" train 1 time train.time_limit=0.001s
is "and saves it" [ -n "$(newest time)" ]
exits 78 "the next, too short, is refused" train 1 time train.time_limit=0.001s
says 'time_limit 0.001 s is too short .* first step, .* save, so at least' "with the numbers"
is "FAILED says so" grep -q '"code": 78' "$work/time/FAILED"
ok "without a limit it goes on" train 1 time

# Slurm's job ends at a known time. Whatever else asks for an end, the folder tells what did.
long() { train 1 soon train.steps=1000000 checkpoint.every=1000000 "$@"; }
cause() { grep -q "\"cause\": \"$1\"" "$work/soon/STOPPED"; }
in_s() { echo $(($(date +%s) + $1)); }
times() { echo "ranks 1 startup_s $1 step_s 1 save_s $2" >"$work/soon/checkpoints/times"; }
ok "a run" train 1 soon train.steps=1
times 1 290
SLURM_JOB_END_TIME=$(in_s 600) exits 75 "a job that ends soon" long
says 'stopped .*the time is up' "why"
is "STOPPED says so" cause time
ok "inspect tells" "$carat" inspect "$work/soon"
says 'stopped .*"cause": "time"' "why it ended"
times 500 1
SLURM_JOB_END_TIME=$(in_s 100) exits 78 "a job that ends too soon" long
says 'the time left to this Slurm job, [0-9.]+ s, is too short .* 500 s to its first step.*; submit it with more --time' "with the numbers"
is "STOPPED was the last start's" missing "$work/soon/STOPPED"
SLURM_JOB_END_TIME=$(in_s 600) exits 78 "a shorter limit of its own counts" long train.time_limit=400s
says 'train.time_limit 400 s is too short' "and is named"
SLURM_JOB_END_TIME=1000000000 ok "a job that has ended is another's" train 1 past checkpoint.every=0
is "and sets no limit" [ "$(find "$work/past/checkpoints" -name 'step-*.h5' | wc -l)" = 1 ]

# Where Slurm does not say so by itself it is asked, and once more when the time is up.
mkdir "$work/slurm"
cat >"$work/slurm/squeue" <<'END'
#!/bin/sh
[ "$*" = "-h -t all -j 7 -o %T %e" ] && [ "$SLURM_TIME_FORMAT" = %s ] || exit 1
n=$(cat "$ASKED" 2>/dev/null || echo 0)
echo $((n + 1)) >"$ASKED"
[ "$n" = 0 ] && echo "RUNNING $FIRST" && exit
[ -n "$LATER" ] && printf "$LATER"
END
chmod +x "$work/slurm/squeue"
asking() { # CODE WHAT FIRST LATER: the end that squeue tells at first, then what it prints
    rm -f "$work/asked"
    exits "$1" "$2" env PATH="$work/slurm:$PATH" SLURM_JOB_ID=7 ASKED="$work/asked" FIRST="$3" LATER="$4" \
        "$carat" train "$work/job.yaml" run.dir="$work/soon" train.steps=1000000 checkpoint.every=1000000
}
times 1 290
asking 75 "a job whose end squeue tells" "$(in_s 600)" "RUNNING $(in_s 600)"
is "asked twice" grep -qx 2 "$work/asked"
times 1 290
asking 75 "a job whose end is put off" "$(in_s 600)" "PENDING $(in_s 900)\nRUNNING $(in_s 700)\nRUNNING $(in_s 645)"
says 'Slurm gives the job more time: 4[4-6] s for this run' "says so"
is "asked until the time is up" grep -qxE '[3-9]' "$work/asked"
times 1 290
asking 75 "a job that Slurm no longer knows when its time is up" "$(in_s 600)" ''
is "ends" cause time
says '^time limit .* by the end of the Slurm job' "told at the start"
CARAT_FAULT=phase.load:0:1:stop "$carat" train "$work/job.yaml" run.dir="$work/soon" train.steps=1000000 >"$work/out" 2>&1 &
is "a start that stands still" within grep -q '^State:.*stopped' /proc/$!/status
touch "$work/soon/stop"
kill -USR1 $!; kill -CONT $!; wait $!
is "who asks for an end by the file as well" cause file

# What a save takes is known before the limit comes, however rarely one is due.
has() { [ -e "$work/$1/checkpoints/step-$(printf %09d "$2").h5" ]; }
measured() { sed -n 's/.* save_s //p' "$work/$1/checkpoints/times"; }
ok "a limit far away" train 2 limit train.time_limit=1h checkpoint.every=0
is "a save is measured at the first step" has limit 1
is "and none at the next" [ "$(find "$work/limit/checkpoints" -name 'step-*.h5' | wc -l)" = 2 ]
save_s=$(measured limit)
is "its seconds are kept" awk "BEGIN { exit !($save_s > 0) }"
ok "the same without a limit" train 1 unlimited checkpoint.every=0
is "measures none" [ "$(find "$work/unlimited/checkpoints" -name 'step-*.h5' | wc -l)" = 1 ]
ok "to the same bits" "$carat" diff "$work/limit" "$work/unlimited"
exits 137 "killed before it saved" env CARAT_FAULT=phase.compute:0:6:kill "$carat" train "$work/job.yaml" \
    run.dir="$work/limit" train.time_limit=1h checkpoint.every=0 train.steps=20
is "what was measured is still known" [ "$(measured limit)" = "$save_s" ]
is "and is not measured again" [ ! -e "$work/limit/checkpoints/step-000000007.h5" ]
echo "ranks 1 startup_s 0.1 step_s 0.1 save_s 1790" >"$work/limit/checkpoints/times"
exits 75 "a slow save begins in time" train 1 limit train.time_limit=1h checkpoint.every=0 train.steps=20
is "after the first step" has limit 7

CARAT_FAULT=ckpt.pwrite:0:1 ok "a measured save that fails" train 1 retry train.time_limit=1h checkpoint.every=0
says 'was not saved and will be tried again' "is warned of"
is "another is measured" awk "BEGIN { exit !($(measured retry) > 0) }"

# Requests that a killed run did not see.
echo "$(hostname) 999999999 - 0 1" >"$work/time/lock"
touch -d '1 minute ago' "$work/time/stop"
ok "a stale stop is dropped" train 1 time train.steps=8
says 'dropped .*stop' "with a line"
touch "$work/time/stop"
exits 75 "a stop between two slices stands" train 1 time train.steps=12

# What killed processes left behind.
touch "$work/time/job.yaml.tmp.n1.3" "$work/time/metrics.h5.tmp-3" "$work/time/lock.stale-3" \
    "$work/time/checkpoints/latest.tmp.n1.3" "$work/time/checkpoints/step-000000009.h5.tmp-x-3"
ok "goes on" train 1 time train.steps=12
is "they are gone" [ -z "$(find "$work/time" -name '*tmp*' -o -name '*stale*')" ]

if unshare -m true 2>/dev/null; then
    mkdir -p "$work/readonly"
    exits 74 "a folder that cannot be written" unshare -m bash -c "mount -t tmpfs -o ro none '$work/readonly' &&
        '$carat' train '$work/job.yaml' run.dir='$work/readonly'"
    says 'Read-only file system' "why"
fi

# Errors of one rank, at 1 to 4 ranks: the same code, one line, a whole FAILED, no hang.
while read -r ranks fault code settings; do
    name=fault-$ranks-${fault%%:*}
    # shellcheck disable=SC2086
    CARAT_FAULT=$fault exits "$code" "$fault on $ranks" train "$ranks" "$name" $settings
    is "$fault on $ranks: one line" [ "$(grep '^carat: ' "$work/out" | grep -cv '^carat: warning')" = 1 ]
    is "$fault on $ranks: FAILED" python3 -c 'import json, sys
assert json.load(open(sys.argv[1]))["code"] == int(sys.argv[2])' "$work/$name/FAILED" "$code"
    [ "$code" = 69 ] || # no rank can be waited for
        is "$fault on $ranks: no lock" [ ! -e "$work/$name/lock" ]
done <<END
1 store.read:0:3 74
2 store.read:1:3 74
3 reduce:2:2 69
4 metrics.row:3:2 74
2 metrics.row:0:6 74
1 metrics.fsync:0 74
3 metrics.fsync:2 74
2 ckpt.pwrite:1:1 74 checkpoint.every=0
3 ckpt.rename:0:1 74 checkpoint.every=0
1 ckpt.folder:0:1 74 checkpoint.every=0
2 ckpt.remove:0:1 74 checkpoint.every=1 train.steps=3 checkpoint.keep=2 checkpoint.async=on
2 h5x.reserve:0:1 74
END

conclude
