#!/usr/bin/env bash
# timeout: 120
# Files, names and settings that someone else chose: nothing of them is run, no path leaves its
# folder, a page holds no markup of theirs, a terminal obeys nothing of them.
# shellcheck disable=SC2016  # words that must not be run
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/frame
: "${work:?}"
untouched() { # WHAT
    checks=$((checks + 1))
    find "$work" -name 'harm*' >"$work/out"
    [ ! -s "$work/out" ] || failed "$1 ran something"
}
no_controls() { # WHAT: the last command's output would move no cursor
    checks=$((checks + 1))
    ! LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]' "$work/out" ||
        failed "$1: control characters in"
}

cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5}
model: {preset: gemma3-nano, width: 32, layers: 2, heads: 2, kv_heads: 1, head_dim: 16, ffn: 48}
batch: {global: 4, micro: 2, seq_len: 32}
train: {steps: 4}
optimizer: {lr: 3e-3}
END
ok prepare "$carat" prepare src/base -o "$work/tokens.h5" --train-tokenizer 400
mkdir "$work/here" "$work/bin"
cd "$work/here" || exit
ok train train 1 run

# ---- carat slurm: what the script runs ----

# The stand-in says what it was called with.
cat >"$work/bin/srun" <<END
#!/bin/sh
[ "\$1" = --mpi=list ] && { echo pmix; exit; }
[ "\$1" = --mpi=pmix ] || exit
shift 3
printf '%s\n' "\$@" >"$work/called"
END
chmod +x "$work/bin/srun"
nasty() { # puts up to 8 of these together in $text, by chance; the seed is fixed
    local atoms=(a Z 7 . ',' : @ % + '=' _ '-' '--' ' ' '  ' '$' '$(touch harm1)' '`touch harm2`' '${HOME}'
        "'" '"' '\' '\\' ';' '; touch harm3 #' '&' '|' '|touch harm4' '>harm5' '<' '*' '?' '[a' ']' '{a,b}'
        '~' '!' '!!' '#' '#SBATCH --uid=0' '(' ')' $'\u00fc' $'\u202e' $'\U1f431' '$((1+' '}' 'EOF' '%x' '-x')
    local i
    text=''
    for ((i = RANDOM % 8; i >= 0; i--)); do text+=${atoms[RANDOM % ${#atoms[@]}]}; done
}
n_ran=0
run_script() { # ARGUMENTS...: of carat slurm; what the script calls is in called
    rm -f "$work/called"
    "$carat" slurm "$@" >"$work/script" 2>"$work/out" || return
    n_ran=$((n_ran + 1))
    env PATH="$work/bin:$PATH" SLURM_JOB_ID=1 SLURM_JOB_NODELIST=n1 SLURM_NTASKS=1 \
        SLURM_JOB_NUM_NODES=1 bash "$work/script" >"$work/out" 2>&1
}
program=$(realpath "$carat")
RANDOM=20
for ((round = 0; round < 70; round++)); do
    nasty; prompt=sample.prompt=$text
    nasty; dir=${text//\//_}
    nasty; file=${text//[\/=]/_}.yaml # with a = it would be a setting
    cp -- "$work/job.yaml" "./$file"
    run_script -- "$file" "$prompt" run.dir="$dir"
    case $? in
    0)  [ "${file:0:1}" != - ] || file=./$file
        checks=$((checks + 1))
        printf '%s\n' "$program" train "$file" "$prompt" run.dir="$dir" >"$work/wanted"
        diff "$work/wanted" "$work/called" >"$work/out" 2>&1 || failed "slurm, round $round" ;;
    64 | 78) ;; # YAML does not take the setting as it is
    *)  failed "slurm, round $round: $prompt, $dir, $file" ;;
    esac
    rm -f -- "./$file"
done
ok 'most of these texts are passed on' [ $n_ran -ge 40 ]
untouched 'slurm'
for text in $'a\n#SBATCH --uid=0' $'a\rb' $'a\x1b[2Jb' $'a\x7fb'; do
    exits 64 'a line break in a setting' "$carat" slurm "$work/job.yaml" "sample.prompt=$text"
    for option in name partition account qos carat; do
        exits 64 "a line break in --$option" "$carat" slurm "$work/job.yaml" "--$option=$text"
        no_controls "--$option"
    done
done
for text in -x --uid=0; do exits 64 "--carat=$text" "$carat" slurm "$work/job.yaml" "--carat=$text"; done
for text in ../../x a/b x%j 'a b' '$(touch harm)' "'"; do
    exits 64 "--name=$text" "$carat" slurm "$work/job.yaml" "--name=$text"
done

# ---- folders whose parts someone else named ----

tensors() { # FILE NAME: a safetensors file with a tensor of this name
    python3 - "$1" "$2" <<'END'
import json, struct, sys
head = json.dumps({sys.argv[2]: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(head)) + head + bytes(4))
END
}
refused() { exits 65 "$1" timeout 20 "$carat" inspect "$work/index"; }
ok export "$carat" export "$work/run" -o "$work/hf"
mkdir "$work/index" && cp "$work/hf/config.json" "$work/index/"
tensors "$work/outside.safetensors" x
for name in ../outside.safetensors "$work/outside.safetensors" .. sub/../x ''; do
    printf '{"weight_map": {"x": "%s"}}' "$name" >"$work/index/model.safetensors.index.json"
    refused "an index that leads to '$name'"
    says 'no file name'
done
rm "$work/index/model.safetensors.index.json"; mkfifo "$work/index/model.safetensors"
refused 'a pipe in the place of weights'
rm "$work/index/model.safetensors"; ln -s /dev/zero "$work/index/model.safetensors"
refused 'a device in the place of weights'

# A run folder is its own run, whatever its job says.
cp -r "$work/run" "$work/given"
sed -i "s|^run.dir:.*|run.dir: $work/elsewhere|" "$work/given/job.yaml"
ok 'the job points elsewhere' grep -q "^run.dir: $work/elsewhere" "$work/given/job.yaml"
ok 'a run that was given' "$carat" train "$work/given" train.steps=5
printf '../../../elsewhere/step-000000009.h5\n' >"$work/given/checkpoints/latest"
ok 'its newest checkpoint is said to be elsewhere' "$carat" train "$work/given" train.steps=6
ok 'it stays in its folder' [ ! -e "$work/elsewhere" ]
ok 'and says where it stands' grep -qx 'step-000000006.h5' "$work/given/checkpoints/latest"

# ---- terminals ----

evil=$'\x1b]0;title\x07\x1b[2Jname\r\xc2\x9b31m\xe2\x80\xaegpj'
tensors "$work/evil.safetensors" "$evil"
ok 'a tensor with such a name' "$carat" inspect "$work/evil.safetensors" --tensors
says 'u001b'
no_controls 'inspect'
ok 'as JSON' "$carat" inspect "$work/evil.safetensors" --tensors --json
no_controls 'inspect --json'
cp "$work/out" "$work/evil.json"
ok 'as JSON it is whole' python3 -c '
import json, sys
sys.exit(json.load(open(sys.argv[1]))["datasets"][0]["tensor"] != sys.argv[2])' "$work/evil.json" "$evil"
rm "$work/index/model.safetensors"; cp "$work/evil.safetensors" "$work/index/model.safetensors"
exits 65 'imported' "$carat" import "$work/index" -o "$work/stolen.h5"
says 'u001b'
no_controls 'an error'

events() { # RUN TEXT [SAMPLES]: one event, with its sum
    python3 - "$1/metrics/events.jsonl" "$2" "${3:-4}" <<'END'
import json, sys
def crc32c(data):
    c = 0xffffffff
    for b in data:
        c ^= b
        for _ in range(8): c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
    return c ^ 0xffffffff
text = sys.argv[2]
e = json.dumps({"step": 2, "attempt": 0, "kind": text[:15], "action": text[:15], "value": 1.0, "sample_first": 0,
                "sample_n": int(sys.argv[3]), "order_seed": 1, "order_n": 9, "text": text}, separators=(",", ":"))[:-1]
open(sys.argv[1], "w").write('%s,"crc32c":%d}\n' % (e, crc32c(e.encode())))
END
}
markup=$']]></text></svg><script>touch("harm")</script><img src=x onerror=alert(1)> &lt;b "onload=1 \'x $(touch harm6) `touch harm7`'
bad="$work/=<img src=x onerror=alert(1)>|\`touch harm9\`$evil"
cp -r "$work/run" "$bad"
printf '{"rank": 0, "host": "h<script>", "step": 3, "code": 76, "message": "<img onload=x>"}' >"$bad/FAILED"
events "$bad" "$markup$evil"
python3 - "$bad/job.yaml" "$markup" <<'END'
import json, re, sys
path, text = sys.argv[1:]
job = open(path).read()
new = re.sub(r"(?m)^(sample.prompt:).*", lambda m: m[1] + " " + json.dumps(text), job)
assert new != job
open(path, "w").write(new)
END
for look in inspect 'inspect --events' 'inspect --events --json' verify 'report --text' plan "diff $work/run"; do
    read -ra words <<<"$look"
    "$carat" "${words[@]}" "$bad" >"$work/out" 2>&1
    says . "$look"
    no_controls "$look"
done
cp -r "$work/run" "$work/greedy"
events "$work/greedy" 'of very many samples' 4611686018427387904
ok 'an event of very many samples' timeout 60 "$carat" inspect --events "$work/greedy"
says ' and [0-9]+ more$' 'an event of very many samples'
ok 'a table of two runs' "$carat" report "$work/run" "$bad" --csv
no_controls 'CSV'
says_not '^"?[=+@-]' 'CSV without formulas'
says "^\"?'=<img" 'CSV: a name that looks like a formula'
ok 'a page' "$carat" report "$work/run" "$bad" -o "$work/page.html"
cat >"$work/look.py" <<'END'
import sys
from html.parser import HTMLParser
KNOWN = set("""html head meta style title body main h1 h2 h3 p div table thead tbody tr th td strong figure figcaption
    footer svg g path text rect use circle polygon polyline defs""".split())
bad, seen = [], []
class Page(HTMLParser):
    def handle_starttag(self, tag, attrs):
        if tag not in KNOWN: bad.append("<%s>" % tag)
        bad.extend("%s in <%s>" % (name, tag) for name, _ in attrs if name.startswith("on") or name == "src")
    handle_startendtag = handle_starttag
    def handle_data(self, data): seen.append(data)
    def unknown_decl(self, data): bad.append("a declaration")
p = Page(); p.feed(open(sys.argv[1], encoding="utf-8").read()); p.close()
if "".join(seen).count("onerror=alert(1)") < 3: bad.append("the names are not to be seen")
sys.exit("; ".join(bad[:5]) if bad else 0)
END
ok 'it holds no markup of theirs' python3 "$work/look.py" "$work/page.html"
untouched 'report'

# gnuplot ends a string with its line, and pipes into a name that begins with |.
line=$'job\nsystem "touch harm8"\nset title \'`touch harm10`\'.yaml'
cp "$work/job.yaml" "$line"
if command -v gnuplot >/dev/null; then
    ok 'a figure of a job with a line break' "$carat" range "$line" --steps 10 --figure "$work/range.svg"
    for name in '|touch harm' $'x\nsystem "touch harm"\n'; do
        exits 64 "a figure named $name" "$carat" range "$work/job.yaml" --steps 10 --figure "$name"
    done
    untouched 'range'
else
    echo 'SKIP: figures with nasty names: no gnuplot'
fi

conclude
