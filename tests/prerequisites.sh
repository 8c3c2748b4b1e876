#!/usr/bin/env bash
# Installs the Debian packages the build and the tests need, beside a Rust toolchain, when they are missing.
set -euo pipefail

# need PACKAGE COMMAND...: installs the package unless the command succeeds.
need() {
    local package=$1 root=""
    shift
    "$@" >/dev/null 2>&1 && return
    [ "$(id -u)" -eq 0 ] || root="sudo"
    echo "== installing $package" >&2
    $root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends "$package"
}

need gcc command -v cc
need g++ command -v c++
need chromium command -v chromium
need chromium-driver command -v chromedriver
need curl command -v curl
need jq command -v jq
need python3-venv python3 -c 'import ensurepip, venv'
