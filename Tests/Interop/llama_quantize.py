"""llama.cpp's own quantizer, called in its library (llama-cpp-python, built from its source package).

    python llama_quantize.py time q4_0 IN.gguf OUT.gguf THREADS     prints seconds, until the bytes are on the disk
    python llama_quantize.py compare A.gguf B.gguf                  exits 1 where a tensor's type or bytes differ
"""

import ctypes
import os
import sys
import time

import gguf
import llama_cpp

FILE_TYPES = {
    "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17,
    "q6_k": 18, "iq4_nl": 25,
}

# The library logs a line per tensor.
SILENT = llama_cpp.llama_log_callback(lambda level, text, data: None)


def means(matrix):
    """What llama-quantize makes of an importance matrix: mean squares, divided in float32."""
    found = {tensor.name: tensor.data for tensor in gguf.GGUFReader(matrix).tensors}
    names = [name.removesuffix(".counts") for name in found if name.endswith(".counts")]
    return {name: found[name + ".in_sum2"] / found[name + ".counts"][0] for name in names}


def quantize(source, output, kind, threads=2, matrix=None):
    """Writes `output`, a GGUF of the file type `kind`; `matrix` is the path of an importance matrix."""
    llama_cpp.llama_log_set(SILENT, None)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[kind]
    params.nthread = threads
    if matrix:
        columns = means(matrix)
        # A list that ends with an entry without a name. The arrays live as long as `columns`.
        entries = (llama_cpp.llama_model_imatrix_data * (len(columns) + 1))()
        for entry, (name, values) in zip(entries, columns.items()):
            entry.name = name.encode()
            entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entry.size = values.size
        params.imatrix = entries
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(output).encode(), params)
    if status:
        raise RuntimeError(f"llama_model_quantize returned {status}")
    return output


def tensors(path):
    """Type and bytes of each tensor."""
    return {tensor.name: (tensor.tensor_type.name, tensor.data.tobytes()) for tensor in gguf.GGUFReader(path).tensors}


def main(command, *arguments):
    if command == "compare":
        one, other = map(tensors, arguments)
        differing = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        sys.exit(f"{len(differing)} tensors differ: {', '.join(differing[:5])}" if differing else None)
    kind, source, output, threads = arguments
    start = time.perf_counter()
    quantize(source, output, kind, threads=int(threads))
    with open(output, "rb") as file:
        os.fsync(file)
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
