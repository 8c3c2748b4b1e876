#!/usr/bin/env bash
# All tests: installs what they need (see prerequisites.sh), then `cargo test` with whatever arguments it was given.
set -euo pipefail
cd "$(dirname "$0")/.."
tests/prerequisites.sh
exec cargo test --locked --no-fail-fast --features simulation "$@"
