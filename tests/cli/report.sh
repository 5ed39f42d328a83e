#!/usr/bin/env bash
# timeout: 300
# `carat report`: pages, terminal and CSV of runs that are done, resumed, killed, diverged, or have
# one row; the page in a browser, where there is one.
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
train() { # RANKS RUN key=value...
    local n=$1 run=$2; shift 2
    timeout 100 mpirun -n "$n" "$carat" train "$work/job.yaml" run.dir="$work/$run" "$@"
}
# A page: closed elements, ids that are there once, nothing from elsewhere, figures with names.
sound() { # FILE FIGURES: at least so many
    python3 - "$1" "$2" <<'END'
import re, sys
from html.parser import HTMLParser
VOID = {"meta", "br", "hr", "img", "link", "input"}
class Page(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.svgs, self.bad = [], set(), 0, []
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if len(a) != len(attrs): self.bad.append("an attribute twice in <%s>" % tag)
        if tag not in VOID: self.open.append(tag)
        if "id" in a:
            if a["id"] in self.ids: self.bad.append("id %s twice" % a["id"])
            self.ids.add(a["id"])
        for ref in ("href", "xlink:href"):
            if ref in a and a[ref][1:] not in self.ids: self.bad.append("no %s" % a[ref])
        if tag == "svg":
            self.svgs += 1
            if a.get("role") != "img" or not a.get("aria-label"): self.bad.append("a nameless figure")
        if tag in ("script", "link", "iframe", "img"): self.bad.append("<%s>" % tag)
    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID: self.open.pop()
    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag: self.bad.append("</%s> closes nothing" % tag)
text = open(sys.argv[1], encoding="utf-8").read()
p = Page(); p.feed(text); p.close()
if p.open: p.bad.append("open: %s" % p.open)
if re.search(r"https?://", text): p.bad.append("an address")
if "nan" in re.sub(r"<(td|figcaption|title|th)[^>]*>.*?</\1>", "", text).lower().split('"'): p.bad.append("NaN")
if len(text) >= 1000000: p.bad.append("%d bytes" % len(text))
if p.svgs < int(sys.argv[2]): p.bad.append("%d figures" % p.svgs)
sys.exit("; ".join(p.bad[:5]) if p.bad else 0)
END
}

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 32, layers: 2, heads: 2, kv_heads: 1, head_dim: 16, ffn: 48}
batch: {global: 4, micro: 2, seq_len: 32}
train: {steps: 30}
optimizer: {lr: 3e-3}
checkpoint: {every: 10}
validate: {every: 10, samples: 8}
END
ok "prepare" "$carat" prepare src include -o "$work/tokens.h5" --train-tokenizer 400
ok "train" train 2 first
ok "train on" train 1 first train.steps=40
ok "another rate" train 1 'other <b> & "rate"' optimizer.lr=1e-2 schedule.name=constant
ok "a single step" train 1 single train.steps=1
train 1 killed train.steps=100000 validate.every=0 >"$work/killed.out" 2>&1 &
for _ in $(seq 100); do
    sleep 0.2
    [ "$("$carat" report "$work/killed" --csv 2>/dev/null | wc -l)" -gt 20 ] && break
done
ok "a page of a run that goes on" "$carat" report "$work/killed" -o "$work/running.html"
says "$work/running.html" 'running, says its lock: process [0-9]+' "it runs"
kill -9 "$(cut -d' ' -f2 "$work/killed/lock")"; wait

# Terminal, CSV, page: where each goes.
ok "text" env LC_ALL=C "$carat" report "$work/first" --text
says "$work/out" '^steps +40 of 40$' "its steps"
says "$work/out" '^loss, smoothed +[0-9]' "its loss"
says "$work/out" '^step 30: Resumed after step 30' "its resume"
says "$work/out" '\*' "its curve in ASCII"
ok "text in Unicode" env LC_ALL=C.UTF-8 "$carat" report "$work/first" --text
says "$work/out" $'\xe2\xa0|\xe2\xa1|\xe2\xa2|\xe2\xa3' "its curve in dots"
ok "CSV" "$carat" report "$work/first" --csv
cp "$work/out" "$work/report.csv"
ok "the same CSV by inspect" "$carat" inspect "$work/first" --csv
cp "$work/out" "$work/inspect.csv"
ok "both are equal" cmp "$work/inspect.csv" "$work/report.csv"
ok "CSV of two runs into a file, and text" "$carat" report "$work/first" "$work/single" --text \
    --csv="$work/two.csv"
says "$work/two.csv" '^run,step,attempt,' "the run comes first"
says "$work/two.csv" '^single,1,0,' "a row of the second"
says "$work/out" '^steps +40 of 40 +1 of 1$' "two columns"
ok "all columns in each row" awk -F, 'NR == 1 { n = NF } NF != n { exit 1 }' "$work/two.csv"
exits 64 "two outputs in one place" "$carat" report "$work/first" --text --csv
says "$work/err" 'only one of page, CSV and text' "and says so"
exits 64 "no run" "$carat" report
exits 65 "a file" "$carat" report "$work/job.yaml"
says "$work/err" 'no run folder' "and says so"
exits 74 "a page that cannot be written" "$carat" report "$work/first" -o "$work/none/x.html"
exits 74 "CSV that cannot be written" "$carat" report "$work/first" --csv="$work/none/x.csv"

# Without gnuplot
ok "no gnuplot" env PATH=/nowhere "$carat" report "$work/first" -o "$work/bare.html"
says "$work/err" 'gnuplot is not installed.*apt-get install gnuplot-nox' "it says what to do"
says "$work/bare.html" 'gnuplot is not installed' "so does the page"
ok "a sound page without figures" sound "$work/bare.html" 0
ok "text without gnuplot" env PATH=/nowhere "$carat" report "$work/first" --text

if ! command -v gnuplot >/dev/null; then
    echo 'SKIP: gnuplot is not there: no figures'
else
    ok "a page" "$carat" report "$work/first" -o "$work/first.html"
    says "$work/err" 'report +.*first.html' "where it is"
    ok "on standard output" "$carat" report "$work/first"
    cp "$work/out" "$work/o.html"
    ok "a sound page" sound "$work/o.html" 10
    for title in 'Loss by steps' 'Loss by tokens' 'Loss by time' 'Learning rate' 'Gradient norm' \
        'Validation loss' 'Time of the ranks'; do
        says "$work/first.html" "<h3>$title</h3>" "its figure"
    done
    says "$work/first.html" 'clipped at 1' "the limit of clipping"
    says "$work/first.html" 'class="mark"><title>Resumed after step 30' "its mark"
    says "$work/first.html" '<td>gemma3-nano; Gemma 3: 2 layers, width 32' "its model"
    ok "a page of several" "$carat" report "$work/first" "$work/other <b> & \"rate\"" \
        "$work/single" "$work/killed" -o "$work/all.html"
    says "$work/all.html" '<th scope="row">optimizer.lr</th><td>0.003</td><td>0.01</td>' "what differs"
    says "$work/all.html" 'other &lt;b&gt; &amp; &quot;rate&quot;' "a name with signs"
    says "$work/all.html" 'killed: process' "that one was killed"
    ok "a page of one row" "$carat" report "$work/single" -o "$work/single.html"
    for page in running first all single; do ok "$page is sound" sound "$work/$page.html" 6; done
fi

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
if [ -z "$browser" ] || ! command -v gnuplot >/dev/null; then
    echo 'SKIP: no headless Chromium, or no gnuplot: pages are not opened'
else
    for page in first all single; do
        ok "$page opens" timeout 60 "$browser" --headless --no-sandbox --disable-gpu \
            --user-data-dir="$work/browser" --enable-logging=stderr --dump-dom \
            "file://$work/$page.html"
        says "$work/out" '<svg[^>]*aria-label="Loss by steps' "the browser has the figure"
        checks=$((checks + 1))
        ! grep -E 'CONSOLE|Uncaught' "$work/err" || { failures=$((failures + 1)); echo "FAILED: $page"; }
    done
fi

echo "$((failures == 0 ? 100 : 100 * (checks - failures) / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
