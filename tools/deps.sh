#!/usr/bin/env bash
# deps.sh GROUP...: install what a group of targets needs and this machine lacks.
# Does nothing, and fast, when all is there. Groups: generate (the C programs), tests
# (what they run beside Go), deploy (make deploy-check), vmtest (the machines), dist (make dist-check).
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
	command_of tshark tshark                # Wireshark's, to read captures
	command_of curl curl                    # the cookbook
	command_of zsh zsh                      # shells, to complete in
	command_of fish fish
	[ -e /usr/share/bash-completion/bash_completion ] || missing+=(bash-completion)
	header_of stdlib.h libc6-dev
	header_of bpf/libbpf.h libbpf-dev
	header_of libelf.h libelf-dev
	header_of zlib.h zlib1g-dev
}

deploy() {
	command_of promtool prometheus          # whose service is not wanted: see below
}

vmtest() {
	command_of qemu-system-x86_64 qemu-system-x86
	command_of qemu-system-aarch64 qemu-system-arm
	command_of busybox busybox-static       # virtme-ng's initramfs
	command_of depmod kmod
	command_of xz xz-utils                  # kernels and modules are compressed
	command_of zstd zstd
	command_of file file
	command_of python3 python3
	for m in argcomplete requests pkg_resources; do
		/usr/bin/python3 -c "import $m" 2>/dev/null || missing+=("python3-${m/_/-}")
	done
}

dist() {
	command_of lintian lintian
	command_of debootstrap debootstrap
	command_of rpm rpm
	command_of skopeo skopeo
	command_of qemu-aarch64-static qemu-user-static
}

for group; do "$group"; done
[ ${#missing[@]} -eq 0 ] && exit 0
exec 9<"$0"
flock 9 # make -j runs this for several targets at a time

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
# Debian enables and starts the services that it installs.
if [[ " ${missing[*]} " == *" prometheus "* ]] && command -v systemctl >/dev/null; then
	$sudo systemctl disable prometheus 2>/dev/null
	[ ! -d /run/systemd/system ] || $sudo systemctl stop prometheus
fi
