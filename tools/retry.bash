#!/usr/bin/env bash
# Sourced. What needs a network fails for moments: a mirror that is being changed, a name that
# is not found, a lock that another apt holds.

# COMMAND...: run it, again after each of the pauses while it fails; the last status
retry() {
    local pause
    for pause in ${RETRY_PAUSES:-5 20 60}; do
        "$@" && return
        echo "failed, again in $pause s: $*" >&2
        sleep "$pause"
    done
    "$@"
}
