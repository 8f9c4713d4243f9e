#!/usr/bin/env bash
# Makes the Python environment of the interop checks, with pinned peers from PyPI, in the folder named first.
set -euo pipefail
folder=$1
requirements=Tests/Interop/requirements.txt
stamp="$folder/.requirements"

# Kernels of AArch64 are linked with Debian's libraries for it and run in an emulator; where those are not, their test is
# skipped.
if [ "$(uname -sm)" = "Linux x86_64" ] && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  if ! command -v qemu-aarch64 >/dev/null 2>&1 || ! command -v aarch64-linux-gnu-gcc >/dev/null 2>&1; then
    echo "interop: installing qemu-user and libraries for AArch64" >&2
    apt-get update -qq && apt-get install -y -qq qemu-user libc6-dev-arm64-cross gcc-aarch64-linux-gnu >/dev/null
  fi
fi

# Slurm of one node on loopback, for the parts of conversions; without it their test is skipped. Debian starts no daemons
# that have no configuration.
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && ! command -v slurmctld >/dev/null 2>&1; then
  echo "interop: installing slurm-wlm, munge and strace" >&2
  apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge strace >/dev/null || true
fi

# Reports are looked at in a headless browser; where there is none, that test is skipped.
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && ! command -v chromium >/dev/null 2>&1; then
  echo "interop: installing chromium" >&2
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } ||
    echo "interop: chromium cannot be installed; the check of report.html will be skipped" >&2
fi

if [ -f "$stamp" ] && cmp -s "$requirements" "$stamp"; then exit 0; fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "interop: Python 3.11 or later is needed, for the pinned NumPy" >&2
  exit 1
fi
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
  else
    echo "interop: Python's venv module is missing (Debian, Ubuntu: apt-get install python3-venv)" >&2
    exit 1
  fi
fi
# llama-cpp-python is built from its source package, with cmake and ninja from PyPI.
if ! command -v c++ >/dev/null 2>&1; then
  if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq g++ >/dev/null
  else
    echo "interop: a C++ compiler is missing (Debian, Ubuntu: apt-get install g++)" >&2
    exit 1
  fi
fi
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/pip" install -q --disable-pip-version-check -r "$requirements"
cp "$requirements" "$stamp"
