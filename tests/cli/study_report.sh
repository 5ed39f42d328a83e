#!/usr/bin/env bash
# timeout: 120
# `carat report`, `carat inspect` and `carat verify` on the folder of a search that was run; the page
# in a browser, where there is one.
set -u
cd "$(dirname "$0")/../.." || exit 1
carat=${CARAT:-$PWD/carat}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
checks=0 failures=0

exits() { # CODE WHAT COMMAND...: passes when the command exits with that code
    local code=$1 what=$2 rc; shift 2
    checks=$((checks + 1))
    "$@" >"$work/out" 2>"$work/err" </dev/null; rc=$?
    [ $rc -eq "$code" ] && return
    failures=$((failures + 1)); echo "FAILED: $what: exit $rc instead of $code: $*"
    tail -n 15 "$work/out" "$work/err"
}
ok() { local what=$1; shift; exits 0 "$what" "$@"; }
says() { # FILE PATTERN WHAT
    checks=$((checks + 1))
    grep -qE -- "$2" "$1" && return
    failures=$((failures + 1)); echo "FAILED: $3: no '$2' in:"; head -c 2000 "$1"
}

cat >"$work/job.yaml" <<END_JOB
data: {train: $work/tokens.h5}
run: {dir: $work/run}
model: {preset: gemma3-nano, width: 32, layers: 1, heads: 2, kv_heads: 1, head_dim: 16, ffn: 48}
batch: {global: 4, micro: 2, seq_len: 32}
train: {steps: 12}
optimizer: {lr: 3e-3}
validate: {samples: 8}
search: {space: 'optimizer.lr log 1e-4 1e-1', trials: 4, rule: random, prune: none}
END_JOB
ok "prepare" "$carat" prepare src include -o "$work/tokens.h5" --train-tokenizer 400
ok "search" timeout 100 "$carat" search "$work/job.yaml"
study=$work/run-search

ok "text" "$carat" report "$study" --text
says "$work/out" '^trials +4 \(4 done\)$' "its trials"
says "$work/out" '^best +trial [0-3], loss [0-9]' "its best"
says "$work/out" '^trial +state +loss +tokens +time +optimizer.lr' "its table"
ok "CSV" "$carat" report "$study" --csv
cp "$work/out" "$work/report.csv"
ok "as the study wrote it" cmp "$work/report.csv" "$study/results.csv"
ok "CSV into a file" "$carat" report "$study" --csv="$work/trials.csv" --text
ok "the same" cmp "$work/trials.csv" "$study/results.csv"
ok "CSV by inspect" "$carat" inspect "$study" --csv
cp "$work/out" "$work/inspect.csv"
ok "the same" cmp "$work/inspect.csv" "$study/results.csv"
exits 64 "a study and more" "$carat" report "$study" "$study"
exits 64 "events of a study" "$carat" inspect "$study" --events
ok "inspect" "$carat" inspect "$study"
says "$work/out" '^kind +study folder$' "what it is"
says "$work/out" '^study +search$' "its kind"
says "$work/out" '^done +4$' "its states"
says "$work/out" '^best_settings +optimizer.lr=' "its best"
ok "a trial's run" "$carat" report "$study/trials/000000/run" --text

ok "a page without gnuplot" env PATH=/nowhere "$carat" report "$study" -o "$work/bare.html"
says "$work/bare.html" 'gnuplot is not installed' "it says so"
says "$work/bare.html" '<h2>Trials</h2>' "and has its table"
says "$work/bare.html" 'Data: SHA-256 [0-9a-f]{64}' "and the data's hash"
says "$work/bare.html" '<th scope="row">build</th>' "and the build"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
if ! command -v gnuplot >/dev/null; then
    echo 'SKIP: gnuplot is not there: no figures'
else
    ok "a page" "$carat" report "$study" -o "$work/page.html"
    says "$work/page.html" '<h3>Loss by trial</h3>' "a figure"
    says "$work/page.html" '<div class="pair">' "a slice"
fi
if [ -z "$browser" ] || [ ! -f "$work/page.html" ]; then
    echo 'SKIP: no headless Chromium, or no gnuplot: the page is not opened'
else
    ok "the page opens" timeout 60 "$browser" --headless --no-sandbox --disable-gpu \
        --user-data-dir="$work/browser" --enable-logging=stderr --dump-dom "file://$work/page.html"
    says "$work/out" '<svg[^>]*aria-label="Loss by trial' "the browser has the figure"
    checks=$((checks + 1))
    ! grep -E 'CONSOLE|Uncaught' "$work/err" || { failures=$((failures + 1)); echo "FAILED: console"; }
fi

ok "verify" "$carat" verify "$study"
says "$work/out" "^whole +$study: study folder" "the folder"
says "$work/out" 'trials/00000[0-3]/run/metrics.h5: metrics' "a trial's run"
printf '{"format": 1' >"$study/trials/000002/trial.json"
exits 65 "a damaged trial" "$carat" verify "$study"
says "$work/err" 'trials/000002/trial.json' "which"
exits 65 "its report" "$carat" report "$study" --text

echo "$((failures == 0 ? 100 : 100 * (checks - failures) / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
