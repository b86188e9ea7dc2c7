#!/usr/bin/env bash
# deps.sh GROUP...: install what a group of targets needs and this machine lacks.
# Does nothing, and fast, when all is there. Groups: generate (the C programs), tests
# (what they run beside Go), vmtest (the machines).
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
missing=()
command_of() { command -v "$1" >/dev/null || missing+=("$2"); }
header_of() { [ -e "/usr/include/$1" ] || missing+=("$2"); }

generate() {
	command_of clang-19 clang-19            # the C programs
	command_of llvm-strip-19 llvm-19
	header_of bpf/bpf_helpers.h libbpf-dev
	command_of git git
}

tests() {
	command_of bpftool bpftool              # they compare with what it sees
	command_of gcc gcc                      # the race detector, the libbpf peer
	command_of ip iproute2                  # network namespaces
	header_of stdlib.h libc6-dev
	header_of bpf/libbpf.h libbpf-dev
	header_of libelf.h libelf-dev
	header_of zlib.h zlib1g-dev
}

vmtest() {
	command_of qemu-system-x86_64 qemu-system-x86
	command_of busybox busybox-static       # virtme-ng's initramfs
	command_of depmod kmod
	command_of xz xz-utils                  # kernels and modules are compressed
	command_of zstd zstd
	command_of file file
	command_of ip iproute2
	command_of python3 python3
	for m in argcomplete requests pkg_resources; do
		/usr/bin/python3 -c "import $m" 2>/dev/null || missing+=("python3-${m/_/-}")
	done
}

for group; do "$group"; done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
	echo "deps: this is not Debian or Ubuntu; install what they call: ${missing[*]}" >&2
	exit 1
fi
sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
echo "deps: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
install() { $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }
# A machine on which apt never ran knows no package; one on which it ran long
# ago knows packages that are gone.
install 2>/dev/null || { $sudo apt-get update -qq && install; }
