#!/usr/bin/env bash
# Unpacks Debian's etcd, containerd and CNI plugins into the cache: debian.sh. Prints the directory that is their root.
# Nothing is installed: a package's daemon would be started beside the machine's own.
set -euo pipefail
cd "$(dirname "$0")/../.."

# They need only libc, and the programs runc and ip.
readonly packages=(etcd-server containerd containernetworking-plugins)
cache=${SLUICE_CACHE:-$PWD/.cache}/cluster/debian

fail() {
  echo "cluster: $*" >&2
  exit 1
}

if [ -e "$cache/complete" ]; then
  echo "$cache"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt's own user writes there.
chmod 755 "$work"
mkdir -m 777 "$work/archives"
fetch() { (cd "$work/archives" && apt-get -q download "${packages[@]}") >"$work/log" 2>&1; }
# If the machine's lists are missing or old, they are updated once.
if ! fetch; then
  apt-get -q update >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2 && fail 'apt-get update failed'; }
  fetch || { tail -n 5 "$work/log" >&2 && fail "cannot download ${packages[*]}: this lane is for Debian 12"; }
fi
for archive in "$work"/archives/*.deb; do dpkg-deb -x "$archive" "$work/root"; done

# All or nothing: a cache whose making was interrupted is made again.
rm -rf "$cache"
mkdir -p "$(dirname "$cache")"
mv "$work/root" "$cache"
: >"$cache/complete"
echo "$cache"
