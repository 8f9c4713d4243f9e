"""Kills a conversion at its system calls that change the disk, by strace's fault injection, and runs it again: the final
bytes are those of an undisturbed run, and no wrong file ever has a final name. `LLAMA_KILLS` says at how many calls in all,
spread evenly over the jobs' calls (50 when absent); `LLAMA_KILLS=all` kills at each of them."""

import os
import re
import shutil
import subprocess

import pytest

CALLS = "mkdir,pwrite64,write,ftruncate,fallocate,fsync,rename,renameat2,link,unlink,rmdir"
# Name: output, options, options of the older output that is replaced.
JOBS = {
    "fp8-shards": ("out", ["--to", "fp8", "--max-shard-size", "1MB"], None),
    "fp8-force": ("out", ["--to", "fp8", "--force"], ["--to", "fp8-compat"]),
    "gguf": ("out.gguf", ["--to", "q8_0"], None),
    "gguf-force": ("out.gguf", ["--to", "q8_0", "--force"], ["--to", "q4_0"]),
    "meta": ("out", ["--format", "pth", "--tp", "2"], None),
    "int4": ("out", ["--to", "int4"], None),
    "compact": ("out.gguf", ["--format", "compact"], None),
}


def can_trace():
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def is_staged(name):
    return any(f"{suffix}{end}" in name for suffix in (".partial", ".journal") for end in "/.")


@pytest.mark.skipif(not can_trace(), reason="needs strace and the right to trace")
@pytest.mark.parametrize("job", JOBS)
def test_kill_at_system_calls(job, programs, tiny, tmp_path, figure):
    output, options, older = JOBS[job]
    program = programs.folder / "llama-convert"

    def prepare(name):
        folder = tmp_path / name
        folder.mkdir()
        if older:
            for path, content in old.items():
                (folder / path).parent.mkdir(exist_ok=True)
                (folder / path).write_bytes(content)
        return folder, [str(program), *options, "--threads", "1", "--checkpoint", "0", str(tiny), str(folder / output)]

    old = {}
    if older:
        (tmp_path / "old").mkdir()
        programs.convert(tiny, tmp_path / "old" / output, *older)
        old = files(tmp_path / "old")
    calm, command = prepare("calm")
    log = tmp_path / "calls"
    subprocess.run(["strace", "-f", "-o", log, "-e", f"trace={CALLS}", *command], check=True, capture_output=True)
    new = files(calm)
    # strace counts the calls of each thread by itself, all that are named together: the busiest one has the most.
    threads = re.findall(rf"^(\d+) +(?:{CALLS.replace(',', '|')})\(", log.read_text(), re.MULTILINE)
    count = max(threads.count(thread) for thread in set(threads))
    wanted = os.environ.get("LLAMA_KILLS", "50")
    kills = count if wanted == "all" else min(count, -(-int(wanted) // len(JOBS)))
    killed = resumed = 0
    for number in sorted({1 + index * count // kills for index in range(kills)}):
        folder, command = prepare("round")
        line = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={CALLS}", "-e", f"inject={CALLS}:signal=KILL:when={number}"]
        done = subprocess.run([*line, *command], capture_output=True, text=True, check=False)
        where = f"{job}: call {number} of {count}"
        assert done.returncode in (0, -9, 137), f"{where}: {done.returncode} {done.stderr}"
        killed += done.returncode != 0
        check_names(files(folder), output, old, new, where)
        complete = not older and files(folder) == new
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        assert again.returncode == 0 or (complete and again.returncode == 73), f"{where}: {again.stderr}"
        resumed += "going on" in again.stderr or "completed the publication" in again.stderr
        assert files(folder) == new, where
        assert not [p.name for p in folder.iterdir() if p.suffix in (".partial", ".journal", ".replaced")], where
        shutil.rmtree(folder)
    assert resumed > 0
    figure("killed", killed)
    figure("went on with earlier work", resumed)


def check_names(found, output, old, new, where):
    """What has a final name is whole: the old output or the new one; of a single file, sums lie beside their own only."""
    named = {name: content for name, content in found.items() if not is_staged(name)}
    if output.endswith(".gguf"):
        whole = new if named.get(output) == new[output] else old
        assert all(content == whole.get(name) for name, content in named.items()), f"{where}: {sorted(named)}"
    else:
        assert named in (old, new), f"{where}: {sorted(named)}"
