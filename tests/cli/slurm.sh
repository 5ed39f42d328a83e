#!/usr/bin/env bash
# carat slurm: the script it prints is valid, holds what was asked, and lets nothing else in.
# shellcheck disable=SC2016  # words of inner shells
set -u
cd "$(dirname "$0")/../.." || exit 1
carat=${CARAT:-$PWD/carat}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
checks=0 failures=0

ok() { # WHAT COMMAND...
    local what=$1; shift
    checks=$((checks + 1))
    "$@" && return
    failures=$((failures + 1)); echo "FAILED: $what: $*"; head -n 40 "$work/out"
}
slurm() { "$carat" slurm "$work/job.yaml" "$@" >"$work/out" 2>&1; }
has() { grep -qxF -- "$1" "$work/out"; }
refuses() { # CODE OPTIONS...
    local code=$1; shift
    slurm "$@"; [ $? -eq "$code" ] && ! grep -q '^#' "$work/out"
}
# Runs the assignments of the printed script alone and prints what they hold.
values() { bash -c "$(grep -E '^(job|settings|carat|run_dir|max_restarts)=' "$work/out")"'
    printf "%s|" "$job" "${settings[@]}" "$run_dir" "$max_restarts"'; }
is() { [ "$1" = "$2" ] || { echo "got $1"; false; }; }

cat >"$work/job.yaml" <<END
run: {dir: runs/x}
model: {preset: gemma3-nano}
data: {train: $work/none.h5}
batch: {global: 64, micro: 1, seq_len: 16}
train: {steps: 10}
END

ok 'plain' slurm
ok 'plain: valid shell' bash -n "$work/out"
ok 'plain: as the template, but for what is filled in' \
    is "$(diff slurm/train.sbatch "$work/out" | grep '^<' | grep -vcE '^< (#SBATCH|job=|settings=|carat=|run_dir=)')" 0
ok 'plain: values' is "$(values)" "$work/job.yaml|runs/x|100|"

ok 'all options' slurm -N 4 -r 8 -c 2 --time 90m --partition big --account=a.b --qos q \
    --name n-1 --signal-before 10m --max-restarts 7
for line in nodes=4 ntasks-per-node=8 cpus-per-task=2 time=0-01:30:00 partition=big account=a.b qos=q \
    job-name=n-1 signal=B:USR1@600; do
    ok "directive $line" has "#SBATCH --$line"
done
ok 'threads become a setting' is "$(values)" "$work/job.yaml|parallel.threads=2|runs/x|7|"
ok 'a short limit leaves two thirds of it' slurm --time 1m
ok 'a short limit leaves two thirds of it' has '#SBATCH --signal=B:USR1@20'

odd="sample.prompt=it's \"\$(touch $work/harm)\" \`id\` \\ *"
ok 'odd settings' slurm "$odd" train.steps=5
ok 'odd settings arrive as they were' is "$(values)" "$work/job.yaml|$odd|train.steps=5|runs/x|100|"
ok 'and run nothing' test ! -e "$work/harm"

ok 'a line break' refuses 64 $'sample.prompt=a\n#SBATCH --uid=0'
ok 'a partition with a blank' refuses 64 --partition 'a b'
ok 'no node' refuses 64 --nodes 0
ok 'a time that is none' refuses 64 --time soon
ok 'a warning before the start' refuses 64 --time 10m --signal-before 20m
ok 'a key that is none' refuses 78 train.stepz=3
ok 'no sbatch to submit to' env PATH="$work" "$(command -v bash)" -c '"$0" slurm "$1" --submit >"$2" 2>&1; [ $? = 64 ]' \
    "$carat" "$work/job.yaml" "$work/out"
ok 'run folder' is "$("$carat" slurm "$work/job.yaml" --run-dir)" runs/x
slurm --nodes 64 -r 2
ok 'ranks with nothing to do' grep -q 'warning: 128 ranks share 64 micro-batches' "$work/out"

# What sbatch is given: the same script, on its standard input.
printf '#!/bin/sh\ncat >"%s/got"; echo Submitted; exit ${REFUSE:-0}\n' "$work" >"$work/sbatch"; chmod +x "$work/sbatch"
submit() { env PATH="$work:$PATH" "$carat" slurm "$work/job.yaml" --submit >"$work/out"; }
ok 'submit' submit
slurm
ok 'submits what it prints' cmp "$work/got" "$work/out"
ok 'a refused job' env REFUSE=1 PATH="$work:$PATH" bash -c '"$0" slurm "$1" --submit >/dev/null 2>&1; [ $? = 78 ]' \
    "$carat" "$work/job.yaml"

# ---- what the script decides when it is cut: stand-ins play Slurm and, as $ACT tells, carat ----

mkdir -p "$work/cluster"
cat >"$work/cluster/srun" <<'END'
#!/bin/bash
[ "$1" != --mpi=list ] || { echo "${OFFERS:-pmix}"; exit; }
while [[ $1 = --* ]]; do shift; done
exec "$@"
END
cat >"$work/cluster/scontrol" <<'END'
#!/bin/bash
[ "$1" != requeue ] || echo "requeued $2"
END
cat >"$work/cluster/mpirun" <<'END'
#!/bin/bash
sleep 0 & # nobody waits for this rank
exec sleep 60
END
cat >"$work/cluster/carat" <<'END'
#!/bin/bash
case $1 in
slurm) echo "$RUN"; exit ;;
search) mkdir -p "$RUN/trials/000001/run" && cd "$RUN/trials/000001" || exit
    stopped() { echo "{\"job\": \"$1\", \"step\": 1, \"cause\": \"$2\"}" >"$3/STOPPED"; }
    mkdir -p ../000002/run ../000003/run
    stopped 7 time ../000002/run; touch -d '1 hour ago' ../000002/run/STOPPED # of an earlier start
    stopped 8 time ../000003/run # of another worker
    touch reached-0001; stopped 7 "$ACT" run; exit 75 ;;
esac
cd "$RUN/checkpoints" || exit
saves() { rm -f "$1"; touch "$1"; }
act() {
    case $ACT in
    back)    mv step-000000200.h5 step-000000200.h5.damaged; saves step-000000150.h5 ;;
    aside)   mv step-000000200.h5 step-000000200.h5.damaged ;;
    again | late) mv step-000000200.h5 step-000000200.h5.damaged; saves step-000000200.h5 ;;
    further) saves step-1000000000.h5 ;;
    masked)  saves step-000000300.h5; kill -TERM $$ ;;
    both)    saves step-000000300.h5; echo '{"cause": "file"}' >"$RUN/STOPPED" ;;
    esac
    exit 75
}
case $ACT in
time | file | signal) saves step-000000300.h5; echo "{\"cause\": \"$ACT\"}" >"$RUN/STOPPED"; exit 75 ;;
late) touch "$RUN/ready"; sleep 1 ;; # it does not listen yet
esac
trap act USR1
touch "$RUN/lock" "$RUN/ready"
for ((i = 0; i < 300; i++)); do sleep 0.1; done
END
chmod +x "$work/cluster/"*
at_step_200() {
    rm -rf "$work/run"; mkdir -p "$work/run/checkpoints"
    touch "$work/run/checkpoints/step-000000"{100,200}.h5
    echo step-000000200.h5 >"$work/run/checkpoints/latest"
}
script() { # ACT SCRIPT [ARGUMENTS...]: becomes the script
    exec env PATH="$work/cluster:$PATH" CARAT=carat ACT="$1" RUN="$work/run" \
        SLURM_JOB_ID=7 bash "${@:2}" "$work/job.yaml" >"$work/out" 2>&1
}
cut() { # ACT: a slice of a run at step 200, which gets the signal before its limit
    local pid i
    at_step_200
    script "$1" slurm/train.sbatch &
    pid=$!
    for ((i = 0; i < 200; i++)); do [ -e "$work/run/ready" ] && break; sleep 0.05; done
    kill -USR1 $pid; wait $pid
}
decides() { # LINE REQUEUED, of the last cut
    grep -q "$1" "$work/out" && is "$(grep -c '^requeued 7$' "$work/out")" "$2"
}
cut none;    ok 'cut, nothing saved' decides 'no step was gained (checkpoint at step 200)' 0
cut back;    ok 'cut behind a checkpoint that was set aside' decides 'saved at step 150: to be queued again' 1
cut again;   ok 'cut where that one was' decides 'saved at step 200: to be queued again' 1
cut aside;   ok 'cut, one set aside, nothing saved' decides 'no step was gained (checkpoint at step 100)' 0
cut further; ok 'cut at a step of ten digits' decides 'saved at step 1000000000: to be queued again' 1
cut late;    ok 'told to end before it listens' decides 'saved at step 200: to be queued again' 1
cut masked;  ok 'cut, exit code lost' decides 'saved at step 300: to be queued again' 1
cut both;    ok 'cut while it is stopped by hand' decides 'stopped as asked at step 300' 0
at_step_200
sed 's/sleep 10$/sleep 0.1/' slurm/train.sbatch >"$work/hasty.sbatch"
(OFFERS=none script none "$work/hasty.sbatch")
ok 'mpirun hangs when its ranks are gone' grep -q 'slurm job 7: failed with exit code 137' "$work/out"
by_itself() { at_step_200; (script "$@"); } # ACT SCRIPT...: without a signal to the script
by_itself time slurm/train.sbatch;   ok 'ended in time by carat' decides 'saved at step 300: to be queued again' 1
by_itself file slurm/train.sbatch;   ok 'stopped by hand' decides 'stopped as asked at step 300' 0
by_itself signal slurm/train.sbatch; ok 'a signal to the ranks' decides 'stopped as asked at step 300' 0
by_itself time slurm/study.sbatch search;   ok 'a worker that ends in time' decides 'saved: to be queued again' 1
by_itself signal slurm/study.sbatch search; ok 'a signal to the worker' decides 'stopped as asked' 0

# ---- studies: an array of workers ----

study_values() { bash -c "$(grep -E '^(command|job|settings|carat|study_dir|max_restarts)=' "$work/out")"'
    printf "%s|" "${command[@]}" "$job" "${settings[@]}" "$study_dir" "$max_restarts"'; }
search='search.space=optimizer.lr log 1e-4 1e-1'
ok 'a search' slurm --search "$search" --workers 8 --at-once 3
ok 'a search: valid shell' bash -n "$work/out"
ok 'a search: as the template, but for what is filled in' \
    is "$(diff slurm/study.sbatch "$work/out" | grep '^<' | grep -vcE '^< (#SBATCH|command=|job=|settings=|carat=|study_dir=)')" 0
ok 'a search: values' is "$(study_values)" "search|$work/job.yaml|$search|runs/x-search|100|"
ok 'a search: tasks' has '#SBATCH --array=0-7%3'
ok 'a search: name' has '#SBATCH --job-name=carat-job-search'
ok 'study of rules' slurm --study=rules "$odd" study.dir="it's there"
ok 'study of rules: values' is "$(study_values)" "study|--rules|$work/job.yaml|$odd|study.dir=it's there|it's there|100|"
ok 'and runs nothing' test ! -e "$work/harm"
ok 'its folder' is "$("$carat" slurm "$work/job.yaml" --study --run-dir)" runs/x-study

mkdir -p "$work/a study/trials"
awk 'BEGIN { printf "{\"format\": 1, \"kind\": \"search\", \"job\": \"search: {space: optimizer.lr log 1e-4 1e-1}\\n" } { printf "%s\\n", $0 } END { print "\"}" }' \
    "$work/job.yaml" >"$work/a study/study.json"
folder() { "$carat" slurm "$work/a study" "$@" >"$work/out" 2>&1; }
ok "a study's folder" folder
ok "a study's folder: values" is "$(study_values)" "search|$work/a study|$work/a study|100|"
folder --study
ok 'a folder of another kind' is "$?" 64
ok 'a folder of another kind: says so' grep -q 'holds a study of kind search, not study' "$work/out"

ok 'workers of no study' refuses 64 --workers 3
ok 'no worker' refuses 64 --search "$search" --workers 0
ok 'a search of nothing' refuses 78 --search
ok 'a search of nothing: the key' grep -q search.space "$work/out"
ok 'none at once' refuses 64 --search "$search" --at-once 0
ok 'both' refuses 64 --search --study
ok 'a kind that is none' refuses 64 --study=serach
ok 'a chain that is not submitted' refuses 64 --search --chain 2
ok 'trials on more ranks than a worker has' refuses 78 --search study.ranks=2

# A chain: each job begins after the one before; none is queued again by itself.
cat >"$work/sbatch" <<END
#!/bin/sh
cat >"$work/got"
echo "\$*" >>"$work/calls"
echo "\$((700 + \$(wc -l <"$work/calls")));cluster"
[ "\$(wc -l <"$work/calls")" -lt "\${LAST:-99}" ]
END
chain() { rm -f "$work/calls"; env PATH="$work:$PATH" "$carat" slurm "$work/job.yaml" --search "$search" --submit --chain 3 >"$work/out" 2>&1; }
ok 'a chain' chain
ok 'a chain: each after the one before' is "$(tr '\n' '|' <"$work/calls")" \
    '--parsable|--parsable --dependency=afterany:701|--parsable --dependency=afterany:702|'
ok 'a chain: says so' has 'Submitted batch job 703, to begin after 702'
ok 'a chain: no restarts' grep -qx 'max_restarts=0' "$work/got"
LAST=2 chain
ok 'a chain that breaks' is "$?" 78
ok 'a chain that breaks: how far it came' grep -q '1 of 3 jobs are submitted: sbatch refused' "$work/out"

echo "$((100 * (checks - failures) / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
