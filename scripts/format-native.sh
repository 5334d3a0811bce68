#!/usr/bin/env bash
# Formats the C and C++ sources, or checks them: format-native.sh --check | --write
set -euo pipefail
cd "$(dirname "$0")/.."
files=$(git ls-files --cached --others --exclude-standard '*.c' '*.cc' '*.h')
[ -n "$files" ] || exit 0
case ${1:---check} in
  --check) echo "$files" | xargs clang-format --dry-run --Werror ;;
  --write) echo "$files" | xargs clang-format -i ;;
  *) echo "usage: $0 --check | --write" >&2; exit 2 ;;
esac
