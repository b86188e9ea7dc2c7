#!/usr/bin/env bash
# install.sh RBTOOL PREFIX [BINARY]: install rbtool with its man pages, completions and unit files below
# $DESTDIR and PREFIX. RBTOOL runs here and writes pages and completions; BINARY is installed, if it is
# for another machine.
set -euo pipefail
cd "$(dirname "$0")/.."
rbtool=$(realpath "$1") prefix=$2 binary=${3:-$1}
root=${DESTDIR:-}$prefix
zsh=${ZSH_COMPLETIONS:-share/zsh/site-functions}
umask 022

install -D -m 0755 "$binary" "$root/bin/rbtool"
man=$root/share/man/man1
mkdir -p "$man"
rm -f "$man"/rbtool.1.gz "$man"/rbtool-*.1.gz # pages of commands that are gone
"$rbtool" man "$man"
gzip -9n "$man"/rbtool.1 "$man"/rbtool-*.1

completion() { # SHELL FILE
	mkdir -p "$(dirname "$root/$2")"
	"$rbtool" completion "$1" >"$root/$2"
}
completion bash share/bash-completion/completions/rbtool
completion zsh "$zsh/_rbtool"
completion fish share/fish/vendor_completions.d/rbtool.fish

units=$root/lib/systemd/system
mkdir -p "$units"
for unit in deploy/systemd/*; do
	sed "s|^ExecStart=/usr/local/|ExecStart=$prefix/|" "$unit" >"$units/${unit##*/}"
done
