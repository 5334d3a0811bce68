#!/usr/bin/env bash
# Builds Kubernetes from its Go module into the cache: kubernetes.sh. Prints the directory of its binaries.
# kubernetes/go.mod says which version and which programs. It needs Go; modules come from where Go is configured to get them.
set -euo pipefail
cd "$(dirname "$0")/../.."
readonly module=$PWD/scripts/cluster/kubernetes

version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$module/go.mod")
cache=${SLUICE_CACHE:-$PWD/.cache}/kubernetes/$version

fail() {
  echo "cluster: $*" >&2
  exit 1
}

# The copy is written last, and a build that was interrupted is made again.
if cmp -s "$module/go.mod" "$cache/go.mod"; then
  echo "$cache/bin"
  exit 0
fi

go=$(sed -n 's/^go //p' "$module/go.mod")
command -v go >/dev/null || fail "go is not in PATH; Kubernetes $version needs Go $go or newer: install it and put it into PATH"
cd "$module"

# What Kubernetes takes from its own repository has to be replaced here, each part by the module of the same version.
own=$(go list -m -f '{{.GoMod}}' k8s.io/kubernetes) || fail "Go cannot get the module k8s.io/kubernetes $version; the lines above say why"
wanted=$(sed -n "s|^\t\(k8s.io/.*\) => ./staging/.*|\1 => \1 ${version/#v1./v0.}|p" "$own")
replaced=$(sed -n 's|^\t\(k8s.io/.* => .*\)|\1|p' go.mod)
if [ "$replaced" != "$wanted" ]; then
  diff <(echo "$replaced") <(echo "$wanted") >&2 || true
  fail "kubernetes/go.mod does not replace what Kubernetes $version wants; above, <: is there, >: has to be"
fi

echo "cluster: building Kubernetes $version, which takes a quarter of an hour of processor time once" >&2
work=$cache.building
rm -rf "$work"
mkdir -p "$work/bin"
IFS=. read -r major minor _ <<<"${version#v}"
stamp=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  # Without these values a server calls itself v0.0.0, which clients refuse or take for an old one.
  stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
done
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w$stamp" -o "$work/bin" tool >"$work/build.log" 2>&1 ||
  { tail -n 30 "$work/build.log" >&2 && fail 'the build failed; the lines above are its end'; }

rm -rf "$cache"
mv "$work" "$cache"
cp go.mod "$cache/go.mod"
echo "$cache/bin"
