#!/usr/bin/env bash
# Builds Kubernetes from Debian's own source package into the cache: kubernetes.sh. Prints the directory of its binaries.
# About a quarter of an hour on two cores, once. Nothing comes from anywhere but Debian's archive.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The newest version that Debian 12 can build by itself; our client may need nothing that it does not have.
readonly version=1.20.2 go=1.19
readonly programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl)
cache=${SLUICE_CACHE:-$PWD/.cache}/kubernetes/$version

fail() {
  echo "cluster: $*" >&2
  exit 1
}

if [ -e "$cache/complete" ]; then
  echo "$cache/bin"
  exit 0
fi

missing=()
[ -x "/usr/lib/go-$go/bin/go" ] || missing+=("golang-$go-go")
[ -d "/usr/share/go-$go/src" ] || missing+=("golang-$go-src")
command -v rsync >/dev/null || missing+=(rsync)
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || fail "missing, and only root can install them: ${missing[*]}"
  echo "cluster: installing Debian packages: ${missing[*]}" >&2
  log=$(mktemp)
  if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail 'apt-get failed; the lines above say why'
  fi
  rm -f "$log"
fi

work=$cache.building
rm -rf "$work"
mkdir -p "$work"/{lists/partial,home,source,bin} "$work/gopath/src/k8s.io"

# The machine's own archive, with sources; the machine's apt settings and lists stay as they are.
list=$work/sources.list
: >"$list"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ ! -e "$file" ] || sed -n 's/^deb /deb-src /p' "$file" | grep -i debian >>"$list" || true
done
cat /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -v '^#' | sed 's/^Types:.*/Types: deb-src/' >"$work/all.sources" || true
# Only Debian's archive has it, and others may refuse requests for sources.
awk 'BEGIN { RS = ""; ORS = "\n\n" } /URIs:.*debian/ && !/security/' "$work/all.sources" >"$work/debian.sources"
options=(-o "Dir::State::lists=$work/lists" -o Dir::Etc::sourceparts=-)
if [ -s "$work/debian.sources" ]; then
  options+=(-o "Dir::Etc::sourcelist=$work/debian.sources")
else
  [ -s "$list" ] || fail 'apt has no source of Debian packages: there is none in /etc/apt/sources.list or /etc/apt/sources.list.d'
  options+=(-o "Dir::Etc::sourcelist=$list")
fi
echo "cluster: fetching the source of Kubernetes $version" >&2
(
  cd "$work/source"
  apt-get "${options[@]}" -q update
  apt-get "${options[@]}" -q --download-only --only-source source kubernetes
) >"$work/fetch.log" 2>&1 || { tail -n 20 "$work/fetch.log" >&2 && fail "cannot fetch Debian's source package kubernetes"; }
tarball=$(find "$work/source" -name 'kubernetes_*.orig.tar.*' ! -name '*.asc' -print -quit)
# Debian calls it 1.20.5+really1.20.2; this is what it really is.
case $tarball in
  *"$version".orig.*) ;;
  *) fail "Debian's source package is $(basename "$tarball"), not $version: this lane is for Debian 12" ;;
esac
mkdir "$work/gopath/src/k8s.io/kubernetes"
tar -xf "$tarball" -C "$work/gopath/src/k8s.io/kubernetes" --strip-components=1

echo 'cluster: building Kubernetes, which takes a quarter of an hour once' >&2
export PATH=/usr/lib/go-$go/bin:$PATH GOROOT=/usr/lib/go-$go GOPATH=$work/gopath GOCACHE=$work/gocache HOME=$work/home
export GOPROXY=off GOSUMDB=off CGO_ENABLED=0
export KUBE_GIT_VERSION=v$version KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20 KUBE_GIT_COMMIT=0 KUBE_GIT_TREE_STATE=clean
(cd "$work/gopath/src/k8s.io/kubernetes" && make WHAT="${programs[*]/#/cmd/}") >"$work/build.log" 2>&1 ||
  { tail -n 30 "$work/build.log" >&2 && fail 'the build failed; the lines above are its end'; }
for program in "${programs[@]}"; do
  cp "$work"/gopath/src/k8s.io/kubernetes/_output/local/bin/linux/*/"$program" "$work/bin/"
done

# All or nothing: a build that was interrupted is made again.
rm -rf "$cache"
mkdir -p "$cache"
mv "$work/bin" "$cache/bin"
chmod -R u+w "$work" && rm -rf "$work"
: >"$cache/complete"
echo "$cache/bin"
