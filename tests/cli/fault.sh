#!/usr/bin/env bash
# The fault matrix's own test, and a few of its cases: `make fault` tries them all.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/frame
. tests/cli/frame
export CARAT=$carat
TOOLS=$(dirname "$carat")/tests/fault; export TOOLS

if [ ! -e "$TOOLS/shim.so" ] || nm -D "$carat" | grep -q __asan_; then
    echo 'SKIP: faults: a library cannot be preloaded before the address sanitizer'
    checks=1
    conclude
    exit
fi
ok "what is lost is noticed" tests/fault/selftest
ok "a few faults" env N=1 JOBS=2 CASE='SIGKILL' tests/fault/run
says '^all +[1-9]' "faults were tried"
conclude
