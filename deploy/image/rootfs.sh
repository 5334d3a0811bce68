#!/usr/bin/env bash
# rootfs.sh DIRECTORY: completes the image's root file system around DIRECTORY/opt/sluice with Node, the shared libraries that it
# and the addons need, and Debian's records of those libraries, so that scanners can identify them.
set -euo pipefail
root=$1
install -d "$root"/{etc/sluice,usr/local/bin,proc,sys,dev,run,tmp,var/lib/dpkg/status.d}
chmod 1777 "$root/tmp"

strip --strip-unneeded "$root"/opt/sluice/build/*.node
install -m 0755 "$(readlink -f "$(command -v node)")" "$root/usr/local/bin/node"
ln -s /opt/sluice/dist/sluice.js "$root/usr/local/bin/sluice"

declare -A packages=()
for binary in "$root"/usr/local/bin/{node,sluice-ready} "$root"/opt/sluice/build/*.node; do
  if ldd "$binary" | grep -q 'not found'; then
    echo "rootfs: $binary needs a library that does not exist here:" >&2
    ldd "$binary" >&2
    exit 1
  fi
  # "libbpf.so.1 => /lib/.../libbpf.so.1 (0x...)", and the loader, which has no arrow.
  while read -r library; do
    target=$root$library
    if [ ! -e "$target" ]; then
      mkdir -p "$(dirname "$target")"
      cp -L "$library" "$target"
    fi
    # dpkg knows a file by the path in its package: /lib or /usr/lib, which are the same directory.
    file=$(readlink -f "$library")
    owner=$(dpkg -S "$file" 2>/dev/null || dpkg -S "${file#/usr}" 2>/dev/null || true)
    [ -z "$owner" ] || packages[${owner%%:*}]=1
  done < <(ldd "$binary" | grep -oE '/[^ ]+ \(0x' | cut -d ' ' -f 1)
done
for package in "${!packages[@]}"; do
  dpkg -s "$package" >"$root/var/lib/dpkg/status.d/$package"
  install -D -m 0644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done

echo 'root:x:0:0:root:/:/sbin/nologin' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
cp /etc/debian_version /etc/os-release "$root/etc/" 2>/dev/null || true
