"""Times PyTorch's forward pass, all logits included.

    python torch_forward.py MODEL TOKENS THREADS bfloat16|float32"""

import json
import random
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM

path, tokens, threads, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, name)).eval()
ids = torch.tensor([random.Random(0).choices(range(1000), k=tokens)])
with torch.inference_mode():
    model(ids, use_cache=False)  # the first run chooses kernels and touches the memory
    start = time.perf_counter()
    model(ids, use_cache=False)
    seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"tokens_per_second": tokens / seconds, "peak_rss_bytes": peak}))
