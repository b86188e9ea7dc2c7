#!/usr/bin/env bash
# vmtest-action.sh: what action.yml runs, with its inputs in VMTEST_*. It needs a Debian with the
# privileges for virtual machines: on a runner of GitHub it starts itself again in such a container.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(dirname "$here")
summary=${GITHUB_STEP_SUMMARY:-/dev/null}

if [ -z "${VMTEST_INSIDE:-}" ] && command -v docker >/dev/null; then
	mkdir -p "$VMTEST_CACHE"
	variables=()
	for v in $(compgen -e VMTEST_); do variables+=(-e "$v"); done
	exec docker run --rm --privileged "${variables[@]}" -e VMTEST_INSIDE=1 -e GITHUB_STEP_SUMMARY="$summary" \
		-v "$GITHUB_WORKSPACE:$GITHUB_WORKSPACE" -v "$repository:$repository" -v "$VMTEST_CACHE:$VMTEST_CACHE" \
		-v "$(dirname "$summary"):$(dirname "$summary")" "$VMTEST_IMAGE" "$here/vmtest-action.sh"
fi

export PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
"$here/deps.sh" vmtest
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$repository" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -o "$work/vmtest" ./vmtest)

arguments=(-markdown "$work/matrix.md" -timeout "${VMTEST_TIMEOUT:-5m}" -arch "${VMTEST_ARCH:-amd64}")
[ -z "${VMTEST_KERNELS:-}" ] || arguments+=(-kernels "$VMTEST_KERNELS")
[ -z "${VMTEST_RUN:-}" ] || arguments+=(-run "$VMTEST_RUN")
[ "${VMTEST_FULL:-false}" = false ] || arguments+=(-full)
[ "${VMTEST_HONEST_SKIPS:-false}" = true ] || arguments+=(-any-skip)
read -ra packages <<<"${VMTEST_PACKAGES:-./...}"

cd "${VMTEST_DIRECTORY:-.}"
export GOFLAGS=-buildvcs=false # the checkout belongs to another user
status=0
"$work/vmtest" "${arguments[@]}" "${packages[@]}" || status=$?
[ ! -e "$work/matrix.md" ] || cat "$work/matrix.md" >>"$summary"
exit "$status"
