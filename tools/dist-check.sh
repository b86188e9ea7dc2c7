#!/usr/bin/env bash
# dist-check.sh DIST: check the packages that dist.sh has built in the directory DIST from this tree.
set -Eeuo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
dist=$(cd "$1" && pwd)
work=$(mktemp -d)
root=$work/debian
finish() {
	for fs in dev sys proc; do
		! mountpoint -q "$root/$fs" || umount -R -l "$root/$fs"
	done
	rm -rf --one-file-system "$work"
}
trap finish EXIT
say() { echo "dist-check: $*" >&2; }
trap 'say "failed: $BASH_COMMAND"' ERR
fail() { say "$*"; exit 1; }
only() { [ $# -eq 1 ] && [ -e "$1" ] || fail "not one file: $*"; echo "$1"; }

say "checksums"
(cd "$dist" && sha256sum --quiet -c SHA256SUMS)

# Another directory, no network, another time zone and umask: the same bytes.
again() {
	local tree=$work/another/directory
	mkdir -p "$tree"
	git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"
	tarball=$(basename "$(only "$dist"/rbtool-*-linux-amd64.tar.gz)" -linux-amd64.tar.gz)
	(
		umask 077
		GOPROXY=off GOFLAGS=-mod=readonly TZ=Asia/Kolkata VERSION=${tarball#rbtool-} COMMIT=$(git rev-parse HEAD) \
			SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) "$tree/tools/dist.sh" "$work/again"
	)
	diff -r "$dist" "$work/again"
}
say "reproducible and offline"
again

say "lintian"
for deb in "$dist"/*.deb; do
	lintian --allow-root --fail-on error "$deb"
done

say "container image"
image=$(only "$dist"/rbtool-*-oci.tar)
for arch in amd64 arm64; do
	skopeo --override-arch "$arch" copy -q "oci-archive:$image" "oci:$work/image-$arch"
	layer=$(skopeo inspect --format '{{index .Layers 0}}' "oci:$work/image-$arch")
	mkdir "$work/rootfs-$arch"
	tar -C "$work/rootfs-$arch" -xzf "$work/image-$arch/blobs/sha256/${layer#sha256:}"
	[ "$(ls "$work/rootfs-$arch")" = rbtool ] || fail "image for $arch holds other files than rbtool"
done
chroot "$work/rootfs-amd64" /rbtool version
qemu-aarch64-static "$work/rootfs-arm64/rbtool" version

# Every file of the fresh Debian, without what apt, dpkg and man-db keep for themselves.
files() {
	find "$root" -xdev \( -path "$root/var/cache" -o -path "$root/var/log" -o -path "$root/var/lib/apt" -o -path "$root/var/lib/dpkg" \
		-o -path "$root/tmp" -o -path "$root/var/lib/rpm" \) -prune -o -printf '%P %y %m\n' | sort
}
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TERM=dumb DEBIAN_FRONTEND=noninteractive "$@"; }

# installed WHAT: what must work once the package is installed.
installed() {
	say "$1: command, man pages, completion, unit file"
	inside rbtool version
	inside rbtool ls >/dev/null
	inside man -w rbtool-tail >/dev/null
	inside man rbtool | grep -q 'rbtool creates, pins, lists and reads BPF ring buffers'
	inside bash -c '. /usr/share/bash-completion/bash_completion; COMP_WORDS=(rbtool ta) COMP_CWORD=1 COMP_LINE="rbtool ta" COMP_POINT=9
		_completion_loader rbtool; __start_rbtool; echo "${COMPREPLY[*]}"' 2>/dev/null | grep -q '^tail'
	inside zsh -fc 'fpath+=(/usr/share/zsh/site-functions); autoload -Uz compinit; compinit -D; [ "${_comps[rbtool]}" = _rbtool ] && autoload -Uz +X _rbtool'
	inside fish -c 'complete -C "rbtool ta"' | grep -q '^tail'
	inside sh -c 'grep -q "^ExecStart=/usr/bin/rbtool" /usr/lib/systemd/system/rbtool-exporter.service'
	inside sh -c 'ls /usr/share/doc/rbtool' | grep -q third-party
}

# The mirror is that of the machine's own apt.
fresh_debian() {
	local mirror
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
	[ -n "$mirror" ] || fail "apt has no Debian mirror"
	say "a fresh Debian 12"
	debootstrap --variant=minbase --include=bash-completion,man-db,zsh,fish bookworm "$root" "$mirror" >"$work/debootstrap.log" ||
		{ tail "$work/debootstrap.log" >&2; fail "debootstrap"; }
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mount --rbind /dev "$root/dev"
	mount --make-rslave "$root/dev"
}
fresh_debian
files >"$work/before"
cp "$dist"/*_amd64.deb "$root/tmp"
inside sh -c 'apt-get install -y -qq /tmp/rbtool_*.deb >/dev/null 2>&1'
installed deb
inside apt-get purge -y -qq rbtool >/dev/null
files | diff "$work/before" - || fail "removal of the deb leaves files"

rpm=(rpm --root "$root" --dbpath /var/lib/rpm --nodeps)
"${rpm[@]}" --quiet -i "$(only "$dist"/*.x86_64.rpm)"
"${rpm[@]}" -V rbtool
installed rpm
"${rpm[@]}" -e rbtool
files | diff "$work/before" - || fail "removal of the rpm leaves files"
say "passed"
