"""Quantization to ggml's blocks against llama.cpp's own quantizer, which is called in its library."""

import processes
from options import ROOT
from processes import NotMeasured
from results import Row, Samples, Table

KINDS = ("q8_0", "q4_0", "q4_k_m")
MEANING = (
    "Both quantize the same file on as many threads and end with their bytes on the disk; ours starts a process and checks its "
    "output too. How many times as fast ours is: more is better."
)
PEER = ROOT / "Tests/Interop/llama_quantize.py"
THEIRS = "llama.cpp"


def run(bench):
    try:
        bench.peers.need("llama-cpp-python", "gguf")
    except NotMeasured as why:
        return [Table("blocks", "Quantization to blocks", MEANING, [Row(kind, "s", reason=str(why)) for kind in KINDS])]
    rows = []
    with bench.workspace.gguf(bench.programs) as gguf:
        for kind in KINDS:
            rows += compare(bench, kind, gguf)
    return [Table("blocks", "Quantization to blocks", MEANING, rows)]


def compare(bench, kind, gguf):
    workspace, programs = bench.workspace, bench.programs
    samples = Samples("s", bench.say)
    ours, theirs = workspace.out / "ours.gguf", workspace.out / "theirs.gguf"
    peers = workspace.folder / "theirs.gguf"
    names = [f"{kind} by {THEIRS}", kind, f"{kind}, no file sums"]
    identical = False

    def measure_peer():
        workspace.fresh()
        workspace.out.mkdir()
        finished = bench.peers.run(PEER, "time", kind, gguf, theirs, programs.threads)
        return float(finished.output.split()[-1]), {"peak_rss_bytes": finished.peak_rss_bytes}

    def measure_ours(*options):
        workspace.fresh()
        workspace.out.mkdir()
        finished = processes.run(*programs.convert_line("--to", kind, *options, gguf, ours))
        return finished.seconds, {"peak_rss_bytes": finished.peak_rss_bytes}

    for number in bench.rounds(kind):
        samples.take(names[0], measure_peer)
        if number == 0 and theirs.exists():
            theirs.rename(peers)
        samples.take(names[1], measure_ours)
        samples.take(names[2], lambda: measure_ours("--no-file-sums"))
        if peers.exists():
            bench.peers.run(PEER, "compare", peers, ours)  # fails where a tensor's type or bytes differ
            identical = True
        workspace.remove(peers)
        workspace.remove(workspace.out)
    peer, *rows = [samples.row(name) for name in names]
    for row in rows:
        row.outpace(peer, THEIRS)
        if identical:
            row.facts["identical_to_peer"] = True
    return [peer, *rows]
