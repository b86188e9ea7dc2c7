#!/usr/bin/env bash
# litmus.sh CACHE [FILE...]: run the litmus tests of docs/litmus with herd7, and compare each
# with the result that its comment states.
#
# herd7 and the kernel's memory model are those of HERD7 (a command) and LKMM (a directory,
# tools/memory-model of the kernel), or else of Debian's unstable suite: its packages are
# unpacked in CACHE and not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
cache=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- docs/litmus/*.litmus

# apt with its own lists: a command of apt, and arguments.
apt() {
	mkdir -p "$cache/lists/partial" "$cache/archives/partial"
	echo 'deb http://deb.debian.org/debian sid main' >"$cache/sources.list"
	"apt-$1" -qq -o Dir::State="$cache" -o Dir::State::status=/dev/null -o Dir::Cache="$cache" \
		-o Dir::Etc::SourceList="$cache/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Acquire::Languages=none "${@:2}"
}

# unpack PACKAGE...: unpack packages into $cache/root.
unpack() {
	apt get update
	for package; do
		(cd "$cache/archives" && rm -f "${package}_"*.deb && apt get download "$package" 2>/dev/null)
		dpkg-deb -x "$cache/archives/${package}_"*.deb "$cache/root"
	done
}

# Its C library is newer than this machine's.
herd() {
	local root=$cache/root
	[ -z "${HERD7:-}" ] || { $HERD7 "$@"; return; }
	"$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" \
		"$root/usr/bin/herd7" -set-libdir "$root/usr/share/herdtools7/herd" "$@"
}

[ -n "${HERD7:-}" ] || [ -x "$cache/root/usr/bin/herd7" ] || unpack libc6 libgmp10 herdtools7
if [ -z "${LKMM:-}" ]; then
	LKMM=$cache/memory-model
	if [ ! -e "$LKMM/linux-kernel.cat" ]; then
		source=$(apt cache depends linux-source | sed -n 's/.*Depends: //p')
		unpack "$source"
		tar -xJf "$cache/root/usr/src/$source.tar.xz" -C "$cache" --strip-components=2 --wildcards '*/tools/memory-model/l*'
		rm "$cache/root/usr/src/$source.tar.xz" "$cache/archives/${source}_"*.deb
	fi
fi

failed=0
for file; do
	model=()
	read -r language _ <"$file"
	[ "$language" != C ] || model=(-I "$LKMM" -conf "$LKMM/linux-kernel.cfg")
	want=$(sed -n 's/^ \* Result: //p' "$file")
	out=$(herd "${model[@]}" "$file" 2>&1) || true
	got=$(sed -n 's/^Observation [^ ]* \([^ ]*\).*/\1/p' <<<"$out")
	printf '%-10s %s\n' "${got:-error}" "$file"
	if [ "$got" != "$want" ]; then
		printf 'litmus: %s: %s, want %s\n%s\n' "$file" "${got:-error}" "$want" "$out" >&2
		failed=1
	fi
done
exit $failed
