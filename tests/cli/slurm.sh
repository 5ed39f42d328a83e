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

echo "$((100 * (checks - failures) / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
