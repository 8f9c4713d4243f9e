"""The machine and the software that figures were measured with."""

import os
import platform
import subprocess
from pathlib import Path

# Those that the kernels or the peers are known to use, as Linux spells them; the last line is of ARM.
INSTRUCTIONS = """
    avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16 avx_vnni
    amx_tile amx_bf16 amx_int8 sha_ni vpclmulqdq
    asimd asimddp fphp i8mm bf16 sve sve2 sme sha2 pmull
""".split()


def fields(path):
    """The lines "name: value" of a file in /proc; of repeated names the first."""
    found = {}
    for line in Path(path).read_text().splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def cores():
    """Physical cores; None where Linux does not tell."""
    text = Path("/proc/cpuinfo").read_text()
    pairs, socket = set(), None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "physical id":
            socket = value
        elif name.strip() == "core id":
            pairs.add((socket, value))
    return len(pairs) or None


def commit(root):
    line = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def available_memory():
    return int(fields("/proc/meminfo")["MemAvailable"].split()[0]) * 1024


def describe(root, programs, peers):
    cpu = fields("/proc/cpuinfo")
    flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
    return {
        "processor": cpu.get("model name") or f"{platform.machine()}, part {cpu.get('CPU part', 'unknown')}",
        "logical_processors": len(os.sched_getaffinity(0)),
        "cores": cores(),
        "virtual": "hypervisor" in flags,
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "memory_bytes": int(fields("/proc/meminfo")["MemTotal"].split()[0]) * 1024,
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "version": programs.version(),
        "instruction_set": programs.instruction_set(),
        "commit": commit(root),
        "peers": peers,
    }


def sentence(machine):
    """For people."""
    processors = f"{machine['logical_processors']} logical processors"
    if machine["cores"]:
        processors += f" on {machine['cores']} cores"
    where = ", a virtual machine" if machine["virtual"] else ""
    peers = ", ".join(f"{name} {version}" for name, version in machine["peers"].items()) or "none"
    programs = f"version {machine['version']}, commit {machine['commit'] or 'unknown'}, by {machine['instruction_set']}"
    return (
        f"{machine['processor']} ({processors}{where}), {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; "
        f"instructions {' '.join(machine['instructions'])}; load before {machine['load_before']:.2f}\n"
        f"{programs}; peers: {peers}"
    )
