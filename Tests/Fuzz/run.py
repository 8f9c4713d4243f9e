#!/usr/bin/env python3
"""Runs the fuzz targets one after the other, each for some seconds of processor time, and prints what came of it.

`run.py PROGRAM` is what `make fuzz` calls. What an input found is kept in the corpus folder, so that the next run goes on
there; an input that breaks a promise is kept under `findings`, ends its target, and makes the exit status 1.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import seeds

HERE = Path(__file__).resolve().parent
# Seconds that one input may take, by the clock, on a machine that others use: a reader is linear in its input.
TIMEOUT = 20
# One allocation, MiB. The driver itself checks the sum: 64 MiB and the file.
ALLOCATION_LIMIT = 80
# The whole process, MiB: the sanitizer's shadow and quarantine beside the reader's memory.
PROCESS_LIMIT = 1024
# Longest input, bytes: as much as finds something new. Documents are shorter than files.
LENGTHS = {"policy": 2048, "evidence": 2048, "sidecars": 4096, "importance": 4096, "sensitivity": 4096, "chat": 2048, "sums": 1024, "meta": 4096}


def slice_of(program, target, seconds, folder):
    """One process of libFuzzer; the executions, coverage points, features and what it said at its end."""
    corpus = folder / target
    arguments = [
        program, corpus, f"-max_total_time={seconds}", f"-timeout={TIMEOUT}", f"-malloc_limit_mb={ALLOCATION_LIMIT}",
        f"-rss_limit_mb={PROCESS_LIMIT}", f"-max_len={LENGTHS.get(target, 16384)}", "-print_final_stats=1",
        f"-artifact_prefix={folder / 'findings' / target}-", "-use_value_profile=0", "-reduce_inputs=1",
    ]
    dictionary = HERE / "Dictionaries" / f"{target}.dict"
    if dictionary.exists():
        arguments.append(f"-dict={dictionary}")
    sanitizer = "detect_leaks=0:quarantine_size_mb=8:allocator_may_return_null=0:handle_abort=1"
    environment = os.environ | {"LLAMA_FUZZ_TARGET": target, "ASAN_OPTIONS": sanitizer, "SWIFT_BACKTRACE": "enable=no"}
    run = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = run.stdout.decode(errors="replace")
    (folder / f"{target}.log").write_text(text)
    points = re.findall(r"cov: (\d+) ft: (\d+)", text)
    executed = re.search(r"number_of_executed_units: (\d+)", text)
    counts = (int(executed[1]) if executed else 0, *map(int, points[-1] if points else (0, 0)))
    return run.returncode, counts, text


def fuzz(program, target, seconds, folder, totals):
    """Adds slices until the target has had its processor time in this call; False after a finding."""
    spent = 0.0
    while spent < seconds:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        status, (runs, coverage, features), text = slice_of(program, target, min(60, max(5, int(seconds - spent))), folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent += used
        total = totals.setdefault(target, {"runs": 0, "seconds": 0.0, "findings": 0})
        total["runs"] += runs
        total["seconds"] += used
        total["coverage"], total["features"] = coverage, features
        total["inputs"] = len(list((folder / target).iterdir()))
        if status != 0:
            total["findings"] += 1
            print(text[-4000:], file=sys.stderr)
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("--seconds", type=int, default=60, help="processor time for each target")
    parser.add_argument("--corpus", type=Path, default=Path(".build-fuzz/corpus"))
    parser.add_argument("targets", nargs="*", help="all by default")
    options = parser.parse_intermixed_args()
    folder = options.corpus.resolve()
    (folder / "findings").mkdir(parents=True, exist_ok=True)
    known = sorted(name.removeprefix("of_") for name in vars(seeds) if name.startswith("of_"))
    targets = options.targets or known
    seeds.main(folder)
    book = folder / "totals.json"
    clean = True
    for target in targets:
        totals = json.loads(book.read_text()) if book.exists() else {}
        clean = fuzz(options.program.resolve(), target, options.seconds, folder, totals) and clean
        book.write_text(json.dumps(totals, indent=2))
        print(f"{target}: {json.dumps(totals[target])}", flush=True)
    totals = json.loads(book.read_text())
    print("\n| target | executions | processor time | edges | features | inputs kept | findings |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for target in sorted(totals):
        t = totals[target]
        time = f"{t['seconds'] / 60:.1f} min"
        print(f"| {target} | {t['runs']:,} | {time} | {t['coverage']} | {t['features']} | {t['inputs']} | {t['findings']} |")
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
