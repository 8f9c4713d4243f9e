#!/usr/bin/env bash
# Checks what a build needs and installs what it may: zlib's headers on Debian and Ubuntu.
set -euo pipefail

if ! command -v swift >/dev/null 2>&1; then
  echo "setup: the Swift toolchain is missing. Install Swift 6.2 or later from https://www.swift.org/install" >&2
  exit 1
fi

have_zlib() { printf '#include <zlib.h>\n' | clang -E -x c - >/dev/null 2>&1 || [ -e /usr/include/zlib.h ]; }

if ! have_zlib; then
  if command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    echo "setup: installing zlib1g-dev" >&2
    run=""; [ "$(id -u)" = 0 ] || run="sudo"
    $run apt-get update -qq && $run apt-get install -y -qq zlib1g-dev >/dev/null
  fi
  if ! have_zlib; then
    echo "setup: zlib's headers are missing and could not be installed. Install them (Debian, Ubuntu: apt-get install zlib1g-dev) and run again." >&2
    exit 1
  fi
fi
