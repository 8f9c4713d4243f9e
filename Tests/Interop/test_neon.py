"""The C kernels without Swift: for AArch64, in an emulator where the machine is none, and here under sanitizers."""

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT

SOURCES = sorted((ROOT / "Sources/CKernels").glob("*.c")) + [ROOT / "Tests/Interop/neon_check.c"]
OPTIONS = ("-std=gnu17", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'Sources/CKernels/include'}")
IS_AARCH64 = platform.machine() in ("aarch64", "arm64")
# As a limit; levels that a processor lacks leave the best one below.
LEVELS = {"scalar": 0, "avx2": 1, "avx512": 2, "best": 5}

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="linked with lld against Linux's libraries")


def tool(name):
    """What is beside `swift`: its compiler knows all processors."""
    path = Path(shutil.which("swift")).resolve().parent / name
    if not path.exists():
        pytest.skip(f"the toolchain has no {name}")
    return path


def checked(line):
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, line))}: exit {done.returncode}\n{done.stderr[-4000:]}"
    return done


def build(folder, *options):
    """The check's program, and beside it the objects that it is made of."""
    clang = tool("clang")
    for source in SOURCES:
        checked([clang, *OPTIONS, *options, "-c", source, "-o", folder / f"{source.stem}.o"])
    objects = sorted(folder.glob("*.o"))
    checked([clang, *options, "-fuse-ld=lld", *objects, "-lm", "-o", folder / "check"])
    return folder / "check"


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    return build(tmp_path_factory.mktemp("native"), "-O2")


@pytest.fixture(scope="module")
def aarch64(native, tmp_path_factory):
    """The program for AArch64, and the command that it is started with."""
    if IS_AARCH64:
        return native, [native]
    for program in ("qemu-aarch64", "aarch64-linux-gnu-gcc"):
        if not shutil.which(program):
            pytest.skip(f"{program} is missing (Scripts/python-environment.sh)")
    program = build(tmp_path_factory.mktemp("aarch64"), "--target=aarch64-linux-gnu", "-O2", "-static")
    return program, ["qemu-aarch64", program]


@pytest.fixture(scope="module")
def digests(aarch64):
    """What the program printed on AArch64, after it compared the product's kernels with the definition."""
    done = checked(aarch64[1])
    assert "product: neon" in done.stderr.splitlines()
    return done.stdout


def test_neons_bits_are_the_scalar_ones(aarch64, digests):
    assert digests.count("\n") > 500
    assert checked([*aarch64[1], LEVELS["scalar"]]).stdout == digests


@pytest.mark.parametrize("level", LEVELS)
def test_other_processors_give_the_same_bits(native, digests, level):
    assert checked([native, LEVELS[level]]).stdout == digests


def test_neons_inner_loop_stays_in_registers(aarch64):
    """24 products of four lanes between the loads of operands; nothing goes to the stack."""
    listing = checked(
        [tool("llvm-objdump"), "-d", "--no-show-raw-insn", "--disassemble-symbols=tile", aarch64[0].parent / "product_neon.o"]
    ).stdout
    lines = re.findall(r"^\s*([0-9a-f]+):\s+(.*)$", listing, re.MULTILINE)
    places = {int(address, 16): index for index, (address, _) in enumerate(lines)}
    loops = []
    for index, (_, text) in enumerate(lines):
        target = re.match(r"(?:b\.\w+|cbn?z|tbn?z)\s.*?0x([0-9a-f]+)", text)
        start = places.get(int(target[1], 16), index) if target else index
        if start < index:
            loops.append([text for _, text in lines[start : index + 1]])
    (loop,) = [loop for loop in loops if any(text.startswith("fmla") for text in loop)]
    assert sum(bool(re.match(r"fmla\s+v\d+\.4s", text)) for text in loop) == 24
    assert not [text for text in loop if "sp" in text or text.startswith("st")]


def test_sanitizers_find_nothing(tmp_path):
    """Every kernel that this machine has, on ragged sizes in buffers of their exact sizes."""
    program = build(tmp_path, "-O1", "-g", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")
    checked([program])
    for level in LEVELS.values():
        checked([program, level])
