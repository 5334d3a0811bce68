#!/usr/bin/env bash
# Unpacks etcd, containerd and CNI plugins of a newer Debian into the cache: debian.sh. Prints the directory that is their root.
# Nothing is installed: a package's daemon would be started beside the machine's own.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The first suite with containerd 2. Its packages of these three work with the libc of Debian 12, its runc does not.
readonly suite=forky
readonly packages=(etcd-server containerd containernetworking-plugins)
cache=${SLUICE_CACHE:-$PWD/.cache}/cluster/debian-$suite

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
mkdir -m 777 "$work/archives" "$work/lists" "$work/lists/partial"

# The machine's own sources of Debian (others have no component `main`), with another suite; its settings and lists stay as they
# are. Updates and security have suites of their own names, which a newer Debian may not have yet.
shopt -s nullglob
of_debian() {
  awk 'BEGIN { RS = ""; ORS = "\n\n" }
    /(^|\n)URIs:[^\n]*debian/ && /(^|\n)Components:[^\n]* main/ && !/(^|\n)Suites:[^\n]*-security/'
}
for file in /etc/apt/sources.list.d/*.sources; do
  sed '/^#/d' "$file" | of_debian | sed "s/^Suites:.*/Suites: $suite/" >>"$work/newer.sources"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -e "$file" ] || continue
  sed -nE "/-(security|updates)/!s|^deb +(\[[^]]*\] +)?(\S*debian\S*) +\S+ +main.*|deb \1\2 $suite main|p" "$file" >>"$work/newer.list"
done
if [ -s "$work/newer.sources" ]; then list=$work/newer.sources; else list=$work/newer.list; fi
[ -s "$list" ] || fail 'apt has no source of Debian packages: there is none in /etc/apt/sources.list or /etc/apt/sources.list.d'
options=(
  -o "Dir::State::lists=$work/lists" -o "Dir::Etc::sourcelist=$list" -o Dir::Etc::sourceparts=-
  -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Acquire::Languages=none
)
(
  cd "$work/archives"
  apt-get "${options[@]}" -q update
  apt-get "${options[@]}" -q download "${packages[@]}"
) >"$work/log" 2>&1 ||
  { tail -n 5 "$work/log" >&2 && fail "cannot download ${packages[*]} of Debian's suite $suite; the lines above say why"; }
for archive in "$work"/archives/*.deb; do dpkg-deb -x "$archive" "$work/root"; done
for program in etcd containerd; do
  "$work/root/usr/bin/$program" --version >"$work/log" 2>&1 ||
    { tail -n 5 "$work/log" >&2 && fail "$program of Debian's suite $suite does not run here: this lane is for Debian 12"; }
done

# All or nothing: a cache whose making was interrupted is made again.
rm -rf "$cache"
mkdir -p "$(dirname "$cache")"
mv "$work/root" "$cache"
: >"$cache/complete"
echo "$cache"
