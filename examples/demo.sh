#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The main job on real input: starts a node with two workers, lets examples/census count the words
# of the system's C headers (or of FOLDER) with it, ends the node, and checks that no process is
# left. Uses a key, a cache and a discovery port of its own, and loopback only, so that it meets
# nothing that runs already.
#
# usage: demo.sh BUILD_DIRECTORY [FOLDER]

set -u
build=${1:?usage: demo.sh BUILD_DIRECTORY [FOLDER]}
shift
own=$(mktemp -d) || exit 1
node=

fail() {
    echo "demo: $*" >&2
    exit 1
}

finish() {
    [ -n "$node" ] && kill -KILL "$node" 2>/dev/null
    rm -rf "$own"
}
trap finish EXIT
trap 'exit 1' INT TERM

# The processes of this demo: those that know its folder from their environment.
left() {
    local file
    for file in /proc/[0-9]*/environ; do
        if grep -qaF "=$own/" "$file" 2>/dev/null; then
            file=${file%/environ}
            echo "${file#/proc/}"
        fi
    done
}

settings=(
    "ASYNCORO_KEY_FILE=$own/key"
    "ASYNCORO_DISCOVERY_PORT=$((20000 + RANDOM % 10000))"
    "XDG_CACHE_HOME=$own"
)

user=()
[ "$(id -u)" -ne 0 ] || user=(--user root) # who is asked as whom jobs run

mkfifo "$own/ready" || fail "no pipe can be made"
# Jobs may read what they are to count, besides what all may read.
env "${settings[@]}" "$build/src/asyncoro" node --workers 2 --loopback \
    --read "$(realpath -m -- "${1:-/usr/include}")" "${user[@]}" >"$own/ready" &
node=$!
# Opened for both directions, so that a node that cannot start does not leave us waiting here.
exec 3<>"$own/ready"
IFS= read -r -t 20 line <&3 || fail "the node does not become ready"
echo "$line"

env "${settings[@]}" "$build/examples/census" "$@"
status=$?

kill -TERM "$node" 2>/dev/null || fail "the node has ended by itself"
wait "$node"
ended=$?
node=
[ "$ended" -eq 0 ] || fail "the node ended with exit code $ended"
remaining=$(left)
[ -z "$remaining" ] || fail "processes are left: $remaining"
[ "$status" -eq 0 ] || fail "census failed"
echo "The node has ended, and no process is left."
