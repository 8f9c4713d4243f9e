#!/usr/bin/env bash
# Times the programs against cp (and llama.cpp's quantizer and PyTorch, if .venv has them) in one run and prints ratios:
# machines differ.
# usage: Scripts/bench.sh BIN [MODEL]    MODEL: a Hugging Face directory in BF16; the bundled one is too small to mean much
set -euo pipefail
bin=$1
model=${2:-${BENCH_MODEL:-Tests/Fixtures/tiny}}
rounds=${BENCH_ROUNDS:-5}
threads=${BENCH_THREADS:-$(nproc)}
python=${BENCH_PYTHON:-.venv/bin/python}
work=$(mktemp -d "${BENCH_FOLDER:-.}/bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

seconds() { local start end; start=$(date +%s.%N); "$@" >/dev/null; end=$(date +%s.%N); echo "$end $start" | awk '{print $1 - $2}'; }
# In a virtual machine, memory that was freed goes back to the host after a moment, and the first to use it again pays for it.
# So every timed command follows an untimed copy whose pages have just been freed.
measure() {
  local name=$1
  shift
  copy
  sync
  rm -rf "$work/out"
  seconds "$@" >>"$work/$name.times"
  rm -rf "$work/out"
}
median() { sort -n | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }

# cp and the conversion both end with their bytes on the disk: cp by sync, the conversion by its own fsync.
copy() { cp -rL "$model" "$work/out" && sync -f "$work/out"; }
convert() { "$bin/llama-convert" --quiet --threads "$threads" "$@"; }

cat "$model"/* >/dev/null # into the page cache
for ((round = 0; round < rounds; round++)); do
  # What a command has written is removed at once: the page cache is for the inputs.
  measure cp copy
  measure fp8 convert --to fp8 "$model" "$work/out"
  measure fp8-bare convert --to fp8 --no-file-sums "$model" "$work/out"
  measure pth convert --format pth --tp 4 "$model" "$work/out"
  measure pth-bare convert --format pth --tp 4 --no-file-sums "$model" "$work/out"
  convert --format pth --tp 4 --no-file-sums "$model" "$work/pth" >/dev/null
  measure mp2-bare convert --tp 2 --no-file-sums "$work/pth" "$work/out"
  measure hf convert --format safetensors "$work/pth" "$work/out"
  measure hf-bare convert --format safetensors --no-file-sums "$work/pth" "$work/out"
  rm -rf "$work/pth"
  measure compact convert --format compact --no-file-sums "$model" "$work/out"
  measure compress convert --format compact --compress --no-file-sums "$model" "$work/out"
  convert --format compact --compress --no-file-sums "$model" "$work/z.gguf" >/dev/null
  measure unpack convert --format safetensors --no-file-sums "$work/z.gguf" "$work/out"
  compressed=$(stat -c %s "$work/z.gguf")
  rm -f "$work"/z.gguf*
done
cp=$(median <"$work/cp.times")
row() {
  local time
  time=$(median <"$work/$1.times")
  printf "%-42s %7.3f s  %5s x cp\n" "$2" "$time" "$(ratio "$time" "$cp")"
}
echo "model $model, $threads threads, medians of $rounds interleaved rounds"
row cp "cp, and sync"
row fp8 "--to fp8"
row fp8-bare "--to fp8, no file sums"
row pth "safetensors to 4 .pth shards"
row pth-bare "safetensors to 4 .pth shards, no file sums"
row mp2-bare "4 shards to 2, no file sums"
row hf "4 shards to safetensors"
row hf-bare "4 shards to safetensors, no file sums"
row compact "safetensors to compact, no file sums"
row compress "the same with --compress"
row unpack "back to safetensors"
echo "the compressed file has $(ratio "$compressed" "$(du -bcL "$model"/* | tail -1 | cut -f1)") of the model's size"

# Both quantize the same file, on as many threads, and end with their bytes on the disk; our process starts and checks itself too.
peer=Tests/Interop/llama_quantize.py
blocks() {
  local kind=$1 gguf=$2 round
  for ((round = 0; round < rounds; round++)); do
    fresh
    "$python" "$peer" time "$kind" "$gguf" "$work/out/theirs.gguf" "$threads" 2>/dev/null >>"$work/$kind-peer.times"
    if [ $round = 0 ]; then mv "$work/out/theirs.gguf" "$work/theirs.gguf"; fi
    fresh
    seconds convert --to "$kind" "$gguf" "$work/out/ours.gguf" >>"$work/$kind.times"
    fresh
    seconds convert --to "$kind" --no-file-sums "$gguf" "$work/out/ours.gguf" >>"$work/$kind-bare.times"
    if [ $round = 0 ]; then "$python" "$peer" compare "$work/theirs.gguf" "$work/out/ours.gguf"; fi
    rm -rf "$work/theirs.gguf" "$work/out"
  done
  local theirs ours bare
  theirs=$(median <"$work/$kind-peer.times") ours=$(median <"$work/$kind.times") bare=$(median <"$work/$kind-bare.times")
  printf "%-8s %8.3f s, llama.cpp's quantizer %8.3f s: %5s x as fast; no file sums %8.3f s: %5s x; tensors identical\n" \
    "$kind" "$ours" "$theirs" "$(ratio "$theirs" "$ours")" "$bare" "$(ratio "$theirs" "$bare")"
}
fresh() {
  rm -rf "$work/out"
  copy
  sync
  rm -rf "$work/out"
  mkdir "$work/out"
}
if "$python" -c 'import llama_cpp, gguf' 2>/dev/null; then
  convert --to bf16 --format gguf --no-file-sums "$model" "$work/bf16.gguf" >/dev/null
  for kind in q8_0 q4_0 q4_k_m; do blocks $kind "$work/bf16.gguf"; done
  rm "$work/bf16.gguf"
else
  echo "llama.cpp      not measured (make interop installs it)"
fi

if [ -n "${BENCH_ONLY_CONVERSION:-}" ]; then exit 0; fi
# Ours with the start of the process, and the text in and the ids out as digits.
if [ -f "$model/tokenizer.model" ] && "$python" -c 'import tiktoken, tokenizers' 2>/dev/null; then
  "$python" Tests/Interop/tokenizer_speed.py "$bin/llama-verify" "$model" Tests/Fixtures/eval.txt
fi
tokens=${BENCH_TOKENS:-2048}
text=Tests/Fixtures/eval.txt
rate=$("$bin/llama-verify" "$model" --text "$text" --context "$tokens" --tokens "$tokens" --threads "$threads" --quiet --json |
  sed -n 's/.*"tokens_per_second": *\([0-9.]*\).*/\1/p')
printf "forward pass   %.1f tokens/s (windows of %d, exact)\n" "$rate" "$tokens"

if "$python" -c 'import torch, transformers' 2>/dev/null; then
  for type in float32 bfloat16; do
    peer=$("$python" - "$model" "$tokens" "$threads" "$type" 2>/dev/null <<'PYTHON'
import sys, time, torch
from transformers import AutoModelForCausalLM

path, tokens, threads, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, name)).eval()
ids = torch.randint(0, 1000, (1, tokens))
times = []
with torch.inference_mode():
    model(ids)
    for _ in range(3):
        start = time.perf_counter()
        model(ids)
        times.append(time.perf_counter() - start)
print(tokens / sorted(times)[1])
PYTHON
    )
    printf "PyTorch        %.1f tokens/s in %s: ours is %s x\n" "$peer" "$type" "$(ratio "$rate" "$peer")"
  done
else
  echo "PyTorch        not measured (make interop installs it)"
fi
