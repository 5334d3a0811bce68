#!/usr/bin/env bash
# Writes an initramfs that holds this checkout, built, and what it needs to run: image.sh KERNEL_DIR OUTPUT
# (KERNEL_DIR as kernel.sh prints it.)
set -euo pipefail
cd "$(dirname "$0")/../.."

kernel=${1:?usage: image.sh KERNEL_DIR OUTPUT}
output=${2:?usage: image.sh KERNEL_DIR OUTPUT}

# Real programs where the testbed needs more than a busybox applet has.
programs=(node ip ss nsenter unshare mount umount prlimit)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,etc,modules,proc,root,run,sys,tmp,usr/bin,usr/sbin,sluice,var}
ln -s ../run "$root/var/run"

# Copies the shared libraries of the given files to the paths where the loader looks for them. (A static file has none.)
copy_libraries() {
  local library
  { ldd "$@" 2>/dev/null || true; } | sed -n 's#.*[[:space:]]\(/[^ ]*\) (0x.*#\1#p' | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -Lu "$library" "$root$library"
  done
}

for program in "${programs[@]}"; do
  path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$program")
  cp -L "$path" "$root/usr/bin/$program"
  copy_libraries "$root/usr/bin/$program"
done
# Node's symbol table is a fifth of its size, and nothing here reads it.
strip --strip-all "$root/usr/bin/node" 2>/dev/null || true
cp -L "$(command -v busybox)" "$root/bin/busybox"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
echo '127.0.0.1 localhost' >"$root/etc/hosts"

# What the packages need when they run, without what only builds or tests them.
if ! modules=$(npm ls --omit=dev --all --parseable --loglevel=error 2>"$root/npm.log"); then
  cat "$root/npm.log" >&2
  echo 'kernels: node_modules is not what package.json asks for: run scripts/setup.sh' >&2
  exit 1
fi
rm "$root/npm.log"
# Tests that run in the guest as they are need vitest, and the sources of the package that they test.
if ! vitest=$(node scripts/kernels/closure.mjs vitest fast-check); then exit 1; fi
tested=(vitest.config.ts vitest.workspace.ts scripts/count-reporter.ts scripts/seed-random-tests.ts
  packages/testbed/src/patience.ts packages/datapath/src packages/datapath/test)

# Only what runs of the packages: no sources, no types, no maps, no tests' objects.
runnable=(-name '*.js' -o -name '*.cjs' -o -name '*.mjs' -o -name '*.json' -o -name '*.node' -o -name '*.o')
{
  find package.json bpf scripts/kernels -type f \( "${runnable[@]}" \) -print
  find packages -name node_modules -prune -o -name obj -prune -o \
    \( -path '*/dist/*' -o -path '*/build/*' -o -name package.json \) -type f \( "${runnable[@]}" \) -print
  # The testbed's own programs and the datapath's; the other packages' executables are sanitizer builds for their tests.
  find packages/testbed/build packages/datapath/build -name obj -prune -o -type f -perm -u+x -print
  sed -n "s#^$PWD/##p" <<<"$modules" | grep -v '/@sluice/' |
    cat - <(echo "$vitest") | while read -r package; do
      find "$package" -name node_modules -prune -o -type f \( "${runnable[@]}" \) -print
    done
  find "${tested[@]}" -type f -print
} | sort -u | tar -cf - -T - | tar -xf - -C "$root/sluice"
# vite complains about every map that is missing.
find "$root/sluice/packages" -path '*/dist/*.js' -exec sed -i '/^\/\/# sourceMappingURL=/d' {} +
find node_modules/@sluice -type l -print0 | tar -cf - --null -T - | tar -xf - -C "$root/sluice"
{
  find "$root/sluice/packages" -path '*/build/*' -type f \( -name '*.node' -o -perm -u+x \) -print
  find "$root/sluice/node_modules" -type f -name '*.node' -print
} |
  while read -r binary; do copy_libraries "$binary"; done

cp "$kernel"/modules/*.ko "$root/modules/"
install -m 755 scripts/kernels/init "$root/init"

# It is not compressed: for an emulated processor, unpacking zstd takes longer than reading the bytes.
(cd "$root" && find . -print0 | busybox cpio -0 -o -H newc) >"$output" 2>/dev/null
