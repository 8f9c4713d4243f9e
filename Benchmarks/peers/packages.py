"""Prints the versions of the peers that are installed here, without importing them."""

import importlib.metadata
import json

NAMES = ("torch", "transformers", "llama-cpp-python", "gguf", "tiktoken", "tokenizers", "numpy")

found = {}
for name in NAMES:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
