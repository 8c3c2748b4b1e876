#!/usr/bin/env bash
# All tests: installs what they need (see prerequisites.sh), then `cargo test` with whatever arguments it was given.
# Without arguments the planted bugs follow, in a build of their own: nothing else is ever tested with them compiled in.
set -euo pipefail
cd "$(dirname "$0")/.."
tests/prerequisites.sh
[ $# -eq 0 ] || exec cargo test --locked --no-fail-fast --features simulation "$@"
status=0
cargo test --locked --no-fail-fast --features simulation || status=$?
cargo test --locked --features canaries --test canaries || status=$?
exit $status
