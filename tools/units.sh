#!/usr/bin/env bash
# units.sh DIR: check the systemd units in DIR, with another command than rbtool, which may not be installed.
set -euo pipefail
command -v systemd-analyze >/dev/null || { echo "units: no systemd-analyze here" >&2; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for unit in "$1"/*.service "$1"/*.socket; do
	sed 's#/usr/local/bin/rbtool#/bin/true#' "$unit" >"$tmp/${unit##*/}"
done
said=$(systemd-analyze verify "$tmp"/* 2>&1) || { echo "$said" >&2; exit 1; }
if [ -n "$said" ]; then # it exits with 0 although it ignores a setting
	echo "$said" >&2
	exit 1
fi
