#!/usr/bin/env bash
# Brings one of Debian's kernels into the cache, without installing it: kernel.sh 6.1|6.12
# Prints the directory that then holds vmlinuz, config, release and modules/NN-name.ko, numbered in the order they load.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The lane needs these as modules of Debian's cloud kernels; what they depend on comes along. (A driver that a kernel
# has built in has no file, and is passed over.)
wanted_modules=(veth bridge dummy sch_ingress cls_bpf)

series=${1:?usage: kernel.sh 6.1|6.12}
case $series in
  6.1) meta=linux-image-cloud-amd64 ;; # Debian 12's own kernel
  *) meta=linux-image-$series-cloud-amd64 ;;
esac

fail() {
  echo "kernels: $*" >&2
  exit 1
}

cache=$PWD/.cache/kernels/$series
if [ -e "$cache/release" ] && [ "$(cat "$cache/wanted" 2>/dev/null)" = "${wanted_modules[*]}" ]; then
  echo "$cache"
  exit 0
fi
[ "$(dpkg --print-architecture)" = amd64 ] || fail "only amd64 machines are provided for"

# The meta package depends on the current real package. Prints nothing if apt does not know it.
real_package() {
  { apt-cache depends "$meta" 2>/dev/null || true; } | awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }'
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$(real_package)
# If the machine's lists are missing or old, they are updated once; an up-to-date machine asks nobody.
if [ -z "$package" ] || ! (cd "$work" && apt-get -q download "$package" >"$work/log" 2>&1); then
  apt-get -q update >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2 && fail "apt-get update failed"; }
  package=$(real_package)
  [ -n "$package" ] || fail "apt knows no package $meta: Debian 12 has it in main or in bookworm-security; add that to apt's sources"
  (cd "$work" && apt-get -q download "$package" >"$work/log" 2>&1) ||
    { tail -n 5 "$work/log" >&2 && fail "cannot download $package"; }
fi
mkdir "$work/package"
dpkg-deb -x "$work"/linux-image-*.deb "$work/package"
release=$(basename "$work"/package/boot/vmlinuz-* | sed 's/^vmlinuz-//')
case $release in
  "$series".*) ;;
  *) fail "$meta is $release on this machine, not $series: this lane is for Debian 12" ;;
esac

mkdir -p "$work/out/modules"
cp "$work/package/boot/vmlinuz-$release" "$work/out/vmlinuz"
cp "$work/package/boot/config-$release" "$work/out/config"

# Without depmod: a module's own .modinfo section names its dependencies. Depth first, so that the numbers give the order.
declare -A seen=()
count=10
add_module() {
  local name=${1//-/_} file plain dependency
  [ -z "${seen[$name]:-}" ] || return 0
  seen[$name]=1
  file=$(find "$work/package" -path '*/kernel/*' \( -name "$name.ko*" -o -name "${name//_/-}.ko*" \) -print -quit)
  [ -n "$file" ] || return 0
  plain=$work/$name.ko
  case $file in
    *.xz) xz -dc "$file" >"$plain" ;;
    *) cp "$file" "$plain" ;;
  esac
  for dependency in $(tr '\0' '\n' <"$plain" | sed -n 's/^depends=//p' | tr ',' ' '); do
    add_module "$dependency"
  done
  mv "$plain" "$work/out/modules/$count-$name.ko"
  count=$((count + 1))
}
for module in "${wanted_modules[@]}"; do add_module "$module"; done

# The release file is written last and the directory moved as a whole: a cache whose making was interrupted is made again.
echo "${wanted_modules[*]}" >"$work/out/wanted"
echo "$release" >"$work/out/release"
mkdir -p "$(dirname "$cache")"
rm -rf "$cache"
mv "$work/out" "$cache"
echo "$cache"
