#!/bin/sh
# conformance.sh DIR PAGE [KERNEL...]: runs `rbtool features --conform` in a virtual
# machine of each kernel, keeps the reports in DIR and makes PAGE of them. Fails where a
# machine does not come up; a kernel that differs is on the page, and fails too.
set -eu
dir=$1 page=$2
shift 2
[ $# -gt 0 ] || set -- $(sed -n 's/^kernel \([0-9.]*\).*/\1/p' vmtest/kernels/kernels.txt)
mkdir -p "$dir"
CGO_ENABLED=0 go build -o "$dir/rbtool" ./cmd/rbtool
CGO_ENABLED=0 go build -o "$dir/vmtest" ./vmtest
status=0 reports=
for kernel; do
	report=$dir/conform-$kernel.json
	"$dir/vmtest" -kernel "$kernel" -- "$dir/rbtool" features --conform -o json >"$report" || status=1
	reports="$reports $report"
done
go run ./conform/matrix $reports >"$page.new"
mv "$page.new" "$page"
exit $status
