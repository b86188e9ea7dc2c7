#!/bin/sh
# conformance.sh DIR PAGE [KERNEL...]: runs `rbtool features --conform` in a virtual
# machine of each kernel, keeps the reports in DIR and makes PAGE of them. Fails where a
# machine does not come up; a kernel that differs is on the page, and fails too.
set -eu
mkdir -p "$1"
dir=$(cd "$1" && pwd) page=$2
shift 2
[ $# -gt 0 ] || set -- $(sed -n 's/^kernel \([^ ]*\).*/\1/p' vmtest/kernels/kernels.txt)
CGO_ENABLED=0 go build -o "$dir/vmtest" ./vmtest
# A machine's output is one stream, for errors too: the report goes straight into a
# file. vmtest lets a machine write where a test would.
printf '#!/bin/sh\nexec "$1" features --conform -o json >"$2"\n' >"$dir/conform.sh"
chmod +x "$dir/conform.sh"
status=0
for kernel; do
	echo "kernel $kernel"
	case $kernel in */*) arch=${kernel#*/} ;; *) arch=amd64 ;; esac
	rbtool=$dir/rbtool-$arch
	CGO_ENABLED=0 GOARCH=$arch go build -o "$rbtool" ./cmd/rbtool
	report=$dir/conform-$(echo "$kernel" | tr / -).json
	rm -f "$report"
	"$dir/vmtest" -kernel "$kernel" -- "$dir/conform.sh" "$rbtool" "$report" "-test.outputdir=$dir" || status=1
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
