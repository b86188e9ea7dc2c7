#!/bin/sh
# conformance.sh DIR PAGE [KERNEL...]: runs `rbtool features --conform` in a virtual
# machine of each kernel, keeps the reports in DIR and makes PAGE of them. Fails where a
# machine does not come up; a kernel that differs is on the page, and fails too.
set -eu
mkdir -p "$1"
dir=$(cd "$1" && pwd) page=$2
shift 2
[ $# -gt 0 ] || set -- $(sed -n 's/^kernel \([0-9.]*\).*/\1/p' vmtest/kernels/kernels.txt)
CGO_ENABLED=0 go build -o "$dir/rbtool" ./cmd/rbtool
CGO_ENABLED=0 go build -o "$dir/vmtest" ./vmtest
status=0
for kernel; do
	echo "kernel $kernel"
	report=$dir/conform-$kernel.json
	rm -f "$report"
	# A machine's output is one stream, for errors too: the report goes straight into a
	# file. vmtest lets a machine write where a test would. It runs a file, not a link.
	"$dir/vmtest" -kernel "$kernel" -- "$(readlink -f /bin/sh)" -c '"$0" features --conform -o json >"$1"' \
		"$dir/rbtool" "$report" "-test.outputdir=$dir" || status=1
	if [ ! -s "$report" ]; then
		echo "conformance.sh: no report of kernel $kernel" >&2
		exit 1
	fi
	set -- "$@" "$report"
	shift
done
go run ./internal/conform/matrix "$@" >"$page.new" || { rm -f "$page.new"; exit 1; }
mv "$page.new" "$page"
exit $status
