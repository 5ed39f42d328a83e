#!/usr/bin/env bash
# timeout: 300
# carat prepare on good and bad input: exit codes, messages, what is left behind, the same bytes
# twice. CARAT names the program.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
carat=$(realpath "${CARAT:-$top/carat}")
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
mkdir in out
n=0 failures=0

fail() { # WHAT
    failures=$((failures + 1))
    echo "FAILED: $1"
    sed 's/^/    /' out.txt err.txt | head -n 12
}
check() { # WHAT COMMAND...
    local what=$1; shift
    n=$((n + 1)); "$@" || fail "$what"
}
try() { # CODE ARGS...: standard input is the caller's
    local want=$1 rc; shift
    timeout 120 "$carat" prepare "$@" >out.txt 2>err.txt; rc=$?
    check "carat prepare $*: exit $rc, not $want" [ $rc -eq "$want" ]
}
says() { check "no \"$1\" in the output" grep -qE -- "$1" out.txt; }
blames() { # PATTERN: one line on standard error
    check "no \"carat: … $1\"" grep -qE -- "^carat: .*$1" err.txt
    check "more than one line of error" [ "$(wc -l <err.txt)" -eq 1 ]
}
left() { # NAMES: all that the output folder holds, hidden files too
    check "out/ holds $(ls -A out | tr '\n' ' ')" [ "$(ls -A out | tr '\n' ' ')" = "$1" ]
}
bad() { # PATTERN ARGS...: exit 65 with this message, and nothing is written
    local pattern=$1; shift
    try 65 "$@" -t tok.h5 -o out/bad.h5 </dev/null
    blames "$pattern"
    left ''
}
data_hash() { # FILE
    tail -c +1 "$1" | grep -aoE '[0-9a-f]{64}' | tr '\n' ' '
}

# Some text: lines, paragraphs, numbers, letters with accents, indented code.
awk 'BEGIN {
    split("the sea wind river märchen stone house garden light night bread über table water", w, " ")
    s = 7
    for (i = 0; i < 6000; i++) {
        line = (i % 9 == 0) ? "\n" : ""
        if (i % 7 == 0) line = line "    if (x == " i ") {\t"
        for (k = 0; k < 8; k++) { s = (s * 1103 + 12345) % 65536; line = line w[s % 14 + 1] " " }
        print line i
    }
}' >in/a.txt
size=$(wc -c <in/a.txt)

# The usual way, and again: the same bytes.
try 0 in/a.txt -o out/a.h5 --train-tokenizer 400 </dev/null
says '^out/a.h5: .* of text from 1 source'
says 'training +[0-9.]+k tokens in'
says 'validation +[0-9.]+k? tokens in'
says 'documents: pieces of .*--document file'
says '^next: carat '
left 'a.h5 '
cp out/a.h5 tok.h5
check "a finished file says nothing on stderr" [ ! -s err.txt ]
try 0 in/a.txt -o out/b.h5 --train-tokenizer 400 --quiet </dev/null
check "quiet is silent" [ ! -s out.txt ] && check "quiet is silent" [ ! -s err.txt ]
check "the same bytes twice" cmp out/a.h5 out/b.h5
rm out/b.h5

# An output that exists is kept unless told.
try 64 in/a.txt -o out/a.h5 -t tok.h5 </dev/null;    blames '--force'
check "refused output unchanged" cmp out/a.h5 tok.h5
try 0 in/a.txt -o out/a.h5 -t tok.h5 --force --seed 1 </dev/null
check "forced output changed" [ "$(cmp out/a.h5 tok.h5 >/dev/null; echo $?)" -eq 1 ]
bad_force() { try 65 in/none.txt -o out/a.h5 -t tok.h5 --force </dev/null; }
cp out/a.h5 keep.h5; bad_force
check "a failure leaves the old output" cmp out/a.h5 keep.h5
rm out/a.h5

# Every way in gives the same tokens: file, pipe, gzip, folder, pattern.
hash_of() { # ARGS...: of the tokens, not of names and arguments
    try 0 "$@" -t tok.h5 -o out/x.h5 --document 8KiB
    data_hash out/x.h5; rm -f out/x.h5
}
want=$(hash_of in/a.txt </dev/null)
gzip -k in/a.txt && mkdir pack && mv in/a.txt.gz pack/
check "a hash" [ -n "$want" ]
check "a pipe" [ "$(hash_of - <in/a.txt)" = "$want" ]
check "a slow pipe" [ "$( (head -c 1000 in/a.txt; sleep 0.3; tail -c +1001 in/a.txt) | hash_of -)" = "$want" ]
check "gzip" [ "$(hash_of pack/a.txt.gz </dev/null)" = "$want" ]
check "a gzip pipe" [ "$(hash_of - <pack/a.txt.gz)" = "$want" ]
check "a folder" [ "$(hash_of in </dev/null)" = "$want" ]
check "a pattern" [ "$(hash_of 'in/*.txt' </dev/null)" = "$want" ]
check "gzip in two members" [ "$( (head -c 9000 in/a.txt | gzip; tail -c +9001 in/a.txt | gzip) | hash_of -)" = "$want" ]
{ printf '\xEF\xBB\xBF'; cat in/a.txt; } >bom.txt
check "a byte order mark is no text" [ "$(hash_of bom.txt </dev/null)" = "$want" ]
try 0 - -o out/p.h5 --train-tokenizer 400 <in/a.txt
left 'p.h5 '; rm out/p.h5

# JSON lines.
printf '{"text":"one sea","id":1}\n\n{"id":2,"text":"two \\u00fc\\nlines"}\n{"text":""}\n{"text":"three"}' >in.jsonl
try 0 in.jsonl -o out/j.h5 -t tok.h5 --valid-docs 1 </dev/null
says 'training .* in 2 documents'; says 'validation .* in 1 document$'
rm out/j.h5
try 0 - --jsonl --field body -o out/j.h5 -t tok.h5 --valid 0 <<<'{"body":"sea"}'
rm out/j.h5
printf '{"text":"a"}\n{"text":"b"\n' >bad.jsonl;      bad 'bad.jsonl:2: bad JSON in column' bad.jsonl
printf '{"text":"a"}\n{"body":"b","k":1}\n' >bad.jsonl; bad 'bad.jsonl:2: .*"text".*body' bad.jsonl
printf '{"text":3}\n' >bad.jsonl;                     bad 'bad.jsonl:1: .*is no text' bad.jsonl
printf '[1]\n' >bad.jsonl;                            bad 'bad.jsonl:1: .*object' bad.jsonl
printf '{"text":"\xe9"}\n' >bad.jsonl;                bad 'bad.jsonl:1: ' bad.jsonl
printf '\n\n' >bad.jsonl;                             bad 'no text' bad.jsonl
printf '{"text":""}\n' >bad.jsonl;                    bad 'no text' bad.jsonl

# What a document is.
docs() { # WANT RULE FILE
    try 0 "$3" -t tok.h5 -o out/d.h5 --document "$2" --valid 0 </dev/null
    says " in $1 document"; rm -f out/d.h5
}
printf 'one\ntwo\n\n  \nthree\nfour' >d.txt
docs 1 file d.txt; docs 4 line d.txt; docs 2 blank d.txt; docs 1 1KiB d.txt
printf '\n\none\n\n\n' >d.txt
docs 1 blank d.txt; docs 1 line d.txt
head -c 3000 in/a.txt >d.txt; docs 4 1000 d.txt
head -c 3000000 /dev/zero | tr '\0' 'x' >d.txt; docs 1 file d.txt; docs 1 line d.txt; docs 1 blank d.txt
for i in $(seq 30); do mkdir -p many; echo "text $i of the sea" >many/$i.txt; done
try 0 many -t tok.h5 -o out/m.h5 </dev/null; says 'in 28 documents'; says 'in 2 documents'; rm out/m.h5
try 0 many -t tok.h5 -o out/m.h5 --valid-docs 29 </dev/null; says 'in 1 document$'; rm out/m.h5
try 0 many -t tok.h5 -o out/m.h5 --valid 0.0001 </dev/null; says 'validation .* in 1 document$'; rm out/m.h5
bad 'valid-docs 30: there are 30' many --valid-docs 30
try 0 many/1.txt -t tok.h5 -o out/m.h5 </dev/null
check "one document: a warning" grep -q 'no validation split' err.txt; rm out/m.h5

# Folders hold other things, too.
mkdir -p mixed/sub mixed/.git && cp in/a.txt mixed/sub/ && cp pack/a.txt.gz mixed/ && : >mixed/empty.txt
cp tok.h5 mixed/ && echo secret >mixed/.git/config && printf '\xff\xfe' >mixed/latin.txt && ln -s .. mixed/up
try 0 mixed -t tok.h5 -o out/f.h5 </dev/null
says 'from 2 sources'; says 'passed over 2 files .*no UTF-8 text'; says '1 empty and 1 hidden'; rm out/f.h5
mkdir void; bad 'void: the folder holds no text' void

# Bad text.
: >empty.txt;                                  bad 'empty.txt: is empty' empty.txt
bad 'none.txt: cannot be read: No such file' none.txt
bad 'none/\*: no file has such a name' 'none/*'
printf 'good\nbad \xe9t\xe9\n' >latin.txt;     bad 'latin.txt:2: byte 9 \(0xE9\) is no valid UTF-8' latin.txt
printf 'cut \xe2\x82' >cut.txt;                bad 'cut.txt:1: byte 4 ' cut.txt
printf '\xed\xa0\x80' >surrogate.txt;          bad 'byte 0 ' surrogate.txt
{ cat in/a.txt; printf '\xff'; } >late.txt;    bad "byte $size .0xFF" late.txt
printf 'a\0b' >nul.txt;                        bad 'nul.txt:1: byte 1 is 0' nul.txt
head -c 5000 pack/a.txt.gz >torn.txt.gz;       bad 'torn.txt.gz: damaged gzip' torn.txt.gz
cp in/a.txt false.txt.gz;                      bad 'false.txt.gz: is no gzip' false.txt.gz
{ head -c 3000 pack/a.txt.gz; printf 'xxxxxxxxxxxx'; tail -c +3013 pack/a.txt.gz; } >hurt.txt.gz
bad 'hurt.txt.gz' hurt.txt.gz
printf '\n\n' >blank.txt
try 65 blank.txt -t tok.h5 -o out/bad.h5 --document line </dev/null; blames 'no text'; left ''
bad 'latin.txt:2' in/a.txt latin.txt
try 65 in/a.txt latin.txt --train-tokenizer 400 -o out/bad.h5 </dev/null; blames 'latin.txt:2'; left ''
if [ "$(id -u)" -ne 0 ]; then
    cp in/a.txt locked.txt; chmod 0 locked.txt; bad 'locked.txt: cannot be read' locked.txt
fi

# Bad tokenizers and vocabularies.
try 65 in/a.txt -t in/a.txt -o out/bad.h5 </dev/null;                 blames 'in/a.txt: no SentencePiece model'
try 65 in/a.txt -t none.model -o out/bad.h5 </dev/null;               blames 'none.model'
try 65 in/a.txt -t in -o out/bad.h5 </dev/null;                       blames 'tokenizer.model'
try 65 in/a.txt --train-tokenizer 100 -o out/bad.h5 </dev/null;       blames 'at least [0-9]+'
try 65 in/a.txt --train-tokenizer 1000000 -o out/bad.h5 </dev/null;   blames 'at most [0-9]+'
left ''

# The command line.
try 64 </dev/null;                                          blames 'SOURCE'
try 64 in/a.txt -t tok.h5 </dev/null;                       blames '-o FILE'
try 64 in/a.txt -o out/bad.h5 </dev/null;                   blames 'either --tokenizer'
try 64 in/a.txt -o out/bad.h5 -t tok.h5 --train-tokenizer 9 </dev/null; blames 'either --tokenizer'
try 64 in/a.txt -o out/bad.h5 --train-tokenizer=0 </dev/null; blames 'train-tokenizer 0'
try 64 in/a.txt -o out/bad.h5 -t tok.h5 --valid 1 </dev/null;      blames 'valid 1'
try 64 in/a.txt -o out/bad.h5 -t tok.h5 --valid-docs=-1 </dev/null; blames 'valid-docs -1'
try 64 in/a.txt -o out/bad.h5 -t tok.h5 --document page </dev/null; blames 'document page'
try 64 in/a.txt -o out/bad.h5 -t tok.h5 --tokeniser x </dev/null;  blames 'did you mean'
try 64 in/a.txt -o out -t tok.h5 </dev/null;                blames 'is a folder'
try 74 in/a.txt -o nowhere/bad.h5 -t tok.h5 </dev/null;     blames 'nowhere'
try 64 - - -o out/bad.h5 -t tok.h5 </dev/null;              blames 'twice'
left ''

# Signals, a full disk, a death: nothing is left.
mkfifo pipe; exec 3<>pipe # held open: the program waits for more text
stop_with() { # SIGNAL
    "$carat" prepare - -t tok.h5 -o out/s.h5 --document 8KiB <pipe >out.txt 2>err.txt 3>&- &
    local pid=$! rc
    head -c 60000 in/a.txt >&3
    sleep 0.5; kill -"$1" $pid; wait $pid 2>/dev/null; rc=$?
    check "$1: exit $rc, not $2" [ $rc -eq "$2" ]
    left ''
}
stop_with TERM 75; blames 'stopped'
stop_with HUP 75; blames 'stopped'
stop_with KILL 137
# Memory stays flat: between 12 MB and 52 MB of text it grows by less than a quarter of the difference.
most() { awk '/VmHWM/ {print $2}' "/proc/$1/status"; }
for _ in $(seq 12); do cat in/a.txt; done >large.txt # 4 MB
"$carat" prepare - -t tok.h5 -o out/w.h5 <pipe >out.txt 2>err.txt 3>&- &
pid=$!
for _ in 1 2 3; do cat large.txt; done >&3; before=$(most $pid)
for _ in $(seq 10); do cat large.txt; done >&3; after=$(most $pid)
exec 3>&-
wait $pid; check "52 MB through a pipe: exit $?" [ -e out/w.h5 ]
[ -n "${ASAN_OPTIONS:-}" ] || check "memory grew from $before to $after kB" [ $((after - before)) -lt 10000 ]
rm -f out/w.h5
for point in fs.pwrite fs.fsync fs.rename h5x.write; do
    CARAT_FAULT=$point:0 try 74 in/a.txt -t tok.h5 -o out/bad.h5 </dev/null; blames "$point"; left ''
done

# Two megabytes within a time that only a fault exceeds.
head -n 36000 large.txt >two.txt
start=$SECONDS
try 0 two.txt -t tok.h5 -o out/l.h5 </dev/null
check "2 MB took $((SECONDS - start)) s" [ $((SECONDS - start)) -le 20 ]

# HDF5's own tools read it.
if command -v h5dump >/dev/null; then
    check "h5dump reads it" grep -q 'carat token store' <(h5dump -A out/l.h5)
    check "descriptions" [ "$(h5dump -A out/l.h5 | grep -c 'ATTRIBUTE "description"')" -eq 7 ]
    check "bos first" grep -qE '^ *\(0\): 2,' <(h5dump -d /train/tokens -c 3 out/l.h5)
    check "source named" grep -q 'two.txt' <(h5dump -d /sources out/l.h5)
else
    echo "SKIP: no h5dump here"
fi

echo "$((100 * (n - failures) / n))%: Checks: $n, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
