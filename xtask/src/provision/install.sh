# Installs the Debian packages named as arguments. While it runs, no package may start a service.
set -eu
policy=/usr/sbin/policy-rc.d
saved=
restore() {
    rm -f "$policy"
    if [ -n "$saved" ]; then mv "$saved" "$policy"; fi
}
if [ -e "$policy" ]; then
    saved=$(mktemp "$policy.XXXXXX")
    mv "$policy" "$saved"
fi
trap restore EXIT
trap 'exit 130' INT TERM HUP
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get -q update && apt-get -q -y --no-install-recommends install "$@"; } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
