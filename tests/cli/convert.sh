#!/usr/bin/env bash
# timeout: 300
# Models from and to Hugging Face folders, their loss on text, and text from them.
set -u
cd "$(dirname "$0")/../.." || exit 1
carat=${CARAT:-$PWD/carat}
fixtures=${CARAT_SHARED:-$PWD/../shared}/fixtures
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
checks=0 failures=0

failed() { # WHAT: the last command's output explains it
    failures=$((failures + 1)); echo "FAILED: $*"; tail -n 15 "$work/out" "$work/err"
}
exits() { # CODE WHAT COMMAND...: passes when the command exits with that code
    local code=$1 what=$2 rc; shift 2
    checks=$((checks + 1))
    timeout 60 "$@" >"$work/out" 2>"$work/err" </dev/null; rc=$?
    [ $rc -eq "$code" ] || failed "$what: exit $rc instead of $code: $*"
}
ok() { exits 0 "$@"; }
says() { # PATTERN WHAT: the last command printed it, on either stream
    checks=$((checks + 1))
    cat "$work/out" "$work/err" | grep -qE -- "$1" || failed "$2: no '$1'"
}
same() { # WHAT A B: files with the same bytes
    checks=$((checks + 1))
    [ -s "$2" ] && cmp -s "$2" "$3" || failed "$1: $2 and $3 differ"
}
differ() { # WHAT A B
    checks=$((checks + 1))
    [ -s "$2" ] && [ -s "$3" ] && ! cmp -s "$2" "$3" || failed "$1: $2 and $3 are alike"
}
round_trip() { # NAME FROM DTYPE: import, export, import, export; both exports have the same bytes
    local d=$work/$1; mkdir "$d"
    ok "$1: import" "$carat" import "$2" -o "$d/a.h5"
    ok "$1: export" "$carat" export "$d/a.h5" -o "$d/b" --dtype "$3"
    says "every value exact" "$1: nothing is lost in its own type"
    ok "$1: import again" "$carat" import "$d/b" -o "$d/c.h5"
    ok "$1: the same weights" "$carat" diff "$d/a.h5" "$d/c.h5"
    ok "$1: export in shards" "$carat" export "$d/c.h5" -o "$d/d" --dtype "$3" --max-shard 20kB
    ok "$1: export of shards" "$carat" export "$d/d" -o "$d/e" --dtype "$3"
    same "$1: shards hold the same" "$d/b/model.safetensors" "$d/e/model.safetensors"
    same "$1: the same description" "$d/b/config.json" "$d/e/config.json"
}

for name in gemma1-mqa:f32 gemma2-gqa:f32 gemma3-text:f32 gemma3-masked-bf16:bf16; do
    if [ -d "$fixtures/${name%:*}" ]; then
        round_trip "${name%:*}" "$fixtures/${name%:*}" "${name#*:}"
    else
        echo "SKIP: no fixture at $fixtures/${name%:*}"
    fi
done

# A run of our own.
cat >"$work/job.yaml" <<END
data: {train: $work/tokens.h5, boundary: attention}
model: {preset: gemma3-nano, width: 40, layers: 3, heads: 4, kv_heads: 2, head_dim: 12, ffn: 72,
        window: 9, window_pattern: 2}
batch: {global: 6, micro: 2, seq_len: 33}
train: {steps: 8}
optimizer: {lr: 3e-3}
schedule: {warmup: 0}
validate: {samples: 21}
END
ok "prepare" "$carat" prepare src include -o "$work/tokens.h5" --train-tokenizer 400
ok "train" "$carat" train "$work/job.yaml" run.dir="$work/run"

ok "export a run" "$carat" export "$work/run" -o "$work/hf"
says "every value exact" "float32 keeps all"
for f in config.json model.safetensors generation_config.json tokenizer.model tokenizer_config.json
do ok "$f is there" test -s "$work/hf/$f"; done
ok "import it" "$carat" import "$work/hf" -o "$work/imported.h5"
ok "export it again" mpirun -n 2 "$carat" export "$work/imported.h5" -o "$work/hf2"
for f in config.json model.safetensors tokenizer.model
do same "$f comes back" "$work/hf/$f" "$work/hf2/$f"; done
ok "import on 3 ranks" mpirun -n 3 "$carat" import "$work/hf" -o "$work/imported3.h5"
ok "the same weights from 3 ranks" "$carat" diff "$work/imported.h5" "$work/imported3.h5"
ok "verify what was imported" "$carat" verify "$work/imported3.h5"

for dtype in bf16 f16; do
    ok "export $dtype" "$carat" export "$work/run" -o "$work/$dtype" --dtype $dtype
    says "rounded" "$dtype: the loss is told"
    ok "export $dtype again" "$carat" export "$work/$dtype" -o "$work/$dtype-2" --dtype $dtype
    says "every value exact" "$dtype: nothing is lost twice"
    same "$dtype comes back" "$work/$dtype/model.safetensors" "$work/$dtype-2/model.safetensors"
done
ok "bf16 is told to others" grep -q '"torch_dtype": "bfloat16"' "$work/bf16/config.json"

# Both forms start the same run.
start() { # FROM RUN
    ok "train from $1" "$carat" train "$work/job.yaml" run.dir="$work/$2" model.init="$work/$1" \
        model.vocab=400 train.steps=2
}
start imported.h5 from-checkpoint
start hf from-hf
ok "the same run from both forms" "$carat" diff "$work/from-checkpoint" "$work/from-hf"

# What is in the way stays.
exits 78 "a folder that is not empty" "$carat" export "$work/run" -o "$work/hf"
same "it is left alone" "$work/hf/model.safetensors" "$work/hf2/model.safetensors"
ok "replace it" "$carat" export "$work/run" -o "$work/hf2" --force --dtype bf16 --max-shard 60kB
ok "no old weights are left" test ! -e "$work/hf2/model.safetensors"
ok "read what replaced it" "$carat" export "$work/hf2" -o "$work/hf3" --dtype bf16
same "what replaced it is whole" "$work/hf3/model.safetensors" "$work/bf16/model.safetensors"
exits 78 "a source as its own output" "$carat" export "$work/hf2" -o "$work/hf2" --force
exits 78 "a checkpoint that exists" "$carat" import "$work/hf" -o "$work/imported.h5"
ok "replace a checkpoint" "$carat" import "$work/hf" -o "$work/imported.h5" --force
exits 65 "a run is no folder of others" "$carat" import "$work/run" -o "$work/x.h5"
exits 65 "nothing there" "$carat" export "$work/absent" -o "$work/x"
exits 64 "no output" "$carat" export "$work/run"
exits 64 "an unknown dtype" "$carat" export "$work/run" -o "$work/x" --dtype fp8
says "f32, bf16 or f16" "what dtypes there are"
cp -r "$work/hf" "$work/cut"; truncate -s -1 "$work/cut/model.safetensors"
exits 65 "weights that are cut off" "$carat" import "$work/cut" -o "$work/x.h5"
cp "$work/hf/model.safetensors" "$work/cut/"
sed -i 's/"num_hidden_layers": 3/"num_hidden_layers": 2/; s/^    "full_attention",\?$//' "$work/cut/config.json"
exits 65 "a description of another model" "$carat" import "$work/cut" -o "$work/x.h5"
ok "a refused import leaves nothing" test ! -e "$work/x.h5"

# Loss on text.
figure() { sed -n "s/^ *\"$1\": \([^,]*\),*$/\1/p" "$work/$2"; }
evaluate() { # FILE RANKS ARGUMENTS...: figures that must not depend on ranks, in FILE
    local file=$1 ranks=$2; shift 2
    ok "eval $*" mpirun -n "$ranks" "$carat" eval "$@" --json
    grep -vE '"(seconds|tokens_per_s|model)"' "$work/out" >"$work/$file"
}
evaluate eval1 1 "$work/run"
for n in 2 3; do
    evaluate eval$n $n "$work/run"
    same "the same figures on $n ranks" "$work/eval1" "$work/eval$n"
done
says '"bits_per_byte": [0-9.]+' "bits per byte"
says '"samples": 21' "samples as in training"
ok "figures as text" "$carat" eval "$work/run"
says "perplexity  +[0-9]+\.[0-9]+" "perplexity"
ok "the run's own figure" bash -c "$carat inspect $work/run --csv | awk -F, '
    NR == 1 {for (i = 1; i <= NF; i++) if (\$i == \"valid_loss\") k = i}
    {v = \$k} END {d = v - $(figure loss eval1); exit !(v > 0 && d * d < 1e-18)}'"
like_run="--seq-len 33 --micro 2 --samples 21"
# shellcheck disable=SC2086  # options are words
evaluate none1 1 "$work/hf" "$work/tokens.h5" $like_run
# shellcheck disable=SC2086
evaluate none2 1 "$work/imported.h5" "$work/tokens.h5" $like_run
sed -i '/"step"/d' "$work/none1" "$work/none2"
same "a folder and its import" "$work/none1" "$work/none2"
differ "document bounds matter" "$work/none1" "$work/eval1"
evaluate train 2 "$work/run" --split train --samples 5
differ "the other split" "$work/train" "$work/eval1"
exits 64 "a folder without data" "$carat" eval "$work/hf"
exits 65 "data that is none" "$carat" eval "$work/hf" "$work/job.yaml"
exits 64 "an unknown split" "$carat" eval "$work/run" --split test

# Text.
text() { # FILE ARGUMENTS...: the drawn text, in FILE
    local file=$1; shift
    ok "generate $*" "$carat" generate "$@"
    cp "$work/out" "$work/$file"
}
text t1 "$work/run" --prompt "int main" --tokens 30
says "tokens/s" "the rate"
text t2 "$work/run" --prompt "int main" --tokens 30 --no-stream
same "streamed or not" "$work/t1" "$work/t2"
text t3 "$work/hf" --prompt "int main" --tokens 30
same "from a folder" "$work/t1" "$work/t3"
text t4 "$work/run" --prompt "int main" --tokens 30 --seed 1
differ "another seed" "$work/t1" "$work/t4"
ok "a prompt by pipe" bash -c "echo 'int main' | $carat generate $work/run --tokens 30 >$work/t5"
same "a prompt by pipe is the same" "$work/t1" "$work/t5"
text t6 "$work/run" --prompt "int main" --tokens 30 --n 2
checks=$((checks + 1))
[ "$(grep -cx -- --- "$work/t6")" -eq 1 ] || failed "two texts, one line between them"
text t7 "$work/run" --prompt "static" --tokens 9 --temperature 0
text t8 "$work/run" --prompt "static" --tokens 9 --temperature 0 --seed 7
same "temperature 0 knows no chance" "$work/t7" "$work/t8"
text t9 "$work/run" --tokens 5
rm "$work/hf/tokenizer.model"
exits 65 "no tokenizer" "$carat" generate "$work/hf" --prompt a
text t10 "$work/hf" --tokenizer "$work/bf16/tokenizer.model" --prompt "int main" --tokens 30
same "the tokenizer from a file" "$work/t1" "$work/t10"
exits 64 "no tokens" "$carat" generate "$work/run" --tokens 0
exits 64 "a probability above 1" "$carat" generate "$work/run" --top-p 2

echo "$((100 * (checks - failures) / checks))%: Checks: $checks, Failures: $failures, Errors: 0"
[ $failures -eq 0 ]
