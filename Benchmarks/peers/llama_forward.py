"""Times llama.cpp's forward pass, all logits included.

    python llama_forward.py MODEL.gguf TOKENS THREADS"""

import json
import random
import resource
import sys
import time

from llama_cpp import Llama

path, tokens, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
BATCH = 512  # tokens that llama.cpp takes through the layers together: its default
on = {"n_threads": threads, "n_threads_batch": threads}
model = Llama(path, n_ctx=tokens, n_batch=tokens, n_ubatch=BATCH, logits_all=True, verbose=False, **on)
ids = random.Random(0).choices(range(1000), k=tokens)
model.eval(ids[:BATCH])  # the first run touches the memory
model.reset()
start = time.perf_counter()
model.eval(ids)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"tokens_per_second": tokens / seconds, "peak_rss_bytes": peak}))
