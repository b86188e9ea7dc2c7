#!/usr/bin/env bash
# dist.sh OUT [ARCH...]: build the packages of rbtool for amd64 and arm64, or for each ARCH, into the
# directory OUT: tar.gz, deb, rpm, SBOM, container image, checksums. It needs Go, GNU tar and gzip, and
# no network once the module cache is filled. The same commit gives the same bytes.
#
# VERSION, COMMIT and SOURCE_DATE_EPOCH come from git unless they are set.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- amd64 arm64

# A tag v1.2.3 is version 1.2.3, and the 4th commit after it 1.2.3+4.g0123456789ab.
git_version() {
	local d
	if d=$(git describe --tags --match 'v[0-9]*' --long --abbrev=12 --dirty=.dirty 2>/dev/null); then
		d=${d#v}
	else
		d=0.0.0-$(git rev-list --count HEAD)-g$(git describe --always --abbrev=12 --dirty=.dirty --exclude='*')
	fi
	[[ $d =~ ^(.*)-([0-9]+)-(g[0-9a-f]+(\.dirty)?)$ ]]
	case ${BASH_REMATCH[2]}${BASH_REMATCH[4]} in
	0) echo "${BASH_REMATCH[1]}" ;;
	*) echo "${BASH_REMATCH[1]}+${BASH_REMATCH[2]}.${BASH_REMATCH[3]}" ;;
	esac
}
if [ -z "${VERSION:-}" ] || [ -z "${COMMIT:-}" ] || [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
	git rev-parse HEAD >/dev/null 2>&1 ||
		{ echo "dist: no git repository: set VERSION, COMMIT and SOURCE_DATE_EPOCH" >&2; exit 1; }
fi
VERSION=${VERSION:-$(git_version)}
COMMIT=${COMMIT:-$(git rev-parse HEAD)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export VERSION COMMIT SOURCE_DATE_EPOCH
# The caller's settings of Go, language and time zone do not reach the packages.
export CGO_ENABLED=0 GOOS=linux GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT='' GOFLAGS='-trimpath -buildvcs=false' LC_ALL=C TZ=UTC
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

stamp=github.com/rbtool/rbtool/internal/cli/command
build() { # ARCH FILE
	GOARCH=$1 go build -ldflags "-s -w -buildid= -X $stamp.version=$VERSION -X $stamp.commit=$COMMIT" -o "$2" ./cmd/rbtool
}
host=$(go env GOHOSTARCH)
build "$host" "$work/rbtool" # writes the pages and completions of all
(cd tools && go build -o "$work/" ./oci github.com/goreleaser/nfpm/v2/cmd/nfpm \
	github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod)

# Archives of a tree, the same for the same content.
archive() { # DIR NAME
	tar -C "$1" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$2"
}

# The licences of the modules that are linked into rbtool, and of Go.
licences() { # ARCH
	local path version dir file
	echo "rbtool contains these modules."
	GOARCH=$1 go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/rbtool |
		sort -u | while read -r path version dir; do
		for file in "$dir"/{LICENSE,LICENCE,COPYING,NOTICE}*; do
			[ ! -f "$file" ] || { printf '\n==== %s %s: %s\n\n' "$path" "$version" "${file##*/}" && cat "$file"; }
		done
	done
	printf '\n==== Go %s: LICENSE\n\n' "$(go env GOVERSION)"
	cat "$(go env GOROOT)/LICENSE"
}

documents() { # DIR ARCH
	mkdir -p "$1"
	cp README.md CHANGELOG.md LICENSE NOTICE "$1"
	cp "$work/third-party-$2" "$1/third-party.txt"
	chmod -R u=rwX,go=rX "$1"
}

tarball() { # ARCH BINARY
	local name=rbtool-$VERSION-linux-$1
	DESTDIR=$work/tar/$name tools/install.sh "$work/rbtool" /usr/local "$2"
	mv "$work/tar/$name/usr/local"/* "$work/tar/$name"
	rm -r "$work/tar/$name/usr"
	documents "$work/tar/$name/share/doc/rbtool" "$1"
	archive "$work/tar" "$name" | gzip -9n >"$out/$name.tar.gz"
}

# nfpm reads the tree root and its own files in the directory where it runs.
package() { # ARCH BINARY deb|rpm
	local dir=$work/$3-$1 zsh=share/zsh/site-functions doc=share/doc/rbtool
	[ "$3" = rpm ] || zsh=share/zsh/vendor-completions
	DESTDIR=$dir/root ZSH_COMPLETIONS=$zsh tools/install.sh "$work/rbtool" /usr "$2"
	documents "$dir/root/usr/$doc" "$1"
	if [ "$3" = deb ]; then # Debian has the text of the licence, and wants the file copyright
		rm "$dir/root/usr/$doc/LICENSE" "$dir/root/usr/$doc/NOTICE"
		mv "$dir/root/usr/$doc/CHANGELOG.md" "$dir/root/usr/$doc/changelog"
		gzip -9n "$dir/root/usr/$doc/changelog" "$dir/root/usr/$doc/third-party.txt"
		install -D -m 0644 deploy/package/copyright "$dir/root/usr/$doc/copyright"
		install -D -m 0644 deploy/package/lintian-overrides "$dir/root/usr/share/lintian/overrides/rbtool"
	fi
	cp deploy/package/nfpm.yaml deploy/package/*.sh "$dir"
	cat >"$dir/changelog.yaml" <<-YAML
		- semver: $VERSION
		  date: $(date -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)
		  packager: The rbtool authors <rbtool@users.noreply.github.com>
		  deb: {urgency: low, distributions: [unstable]}
		  changes:
		    - note: Build of commit $COMMIT; see CHANGELOG.md.
	YAML
	(cd "$dir" && ARCH=$1 "$work/nfpm" package --packager "$3" --target "$out" >/dev/null)
}

rm -f "$out"/rbtool[-_]* "$out/SHA256SUMS"
images=()
for arch; do
	binary=$work/rbtool
	if [ "$arch" != "$host" ]; then
		binary=$work/bin-$arch/rbtool
		build "$arch" "$binary"
	fi
	licences "$arch" >"$work/third-party-$arch"
	images+=("$arch=$binary")
	tarball "$arch" "$binary"
	package "$arch" "$binary" deb
	package "$arch" "$binary" rpm
	"$work/cyclonedx-gomod" bin -json -std -noserial -notimestamp -version "v$VERSION" \
		-output "$out/rbtool-$VERSION-linux-$arch.cdx.json" "$binary"
done
"$work/oci" "$work/image" "${images[@]}"
find "$work/image" -type f -exec chmod 0644 {} +
archive "$work/image" . >"$out/rbtool-$VERSION-oci.tar"
(cd "$out" && sha256sum rbtool[-_]* >SHA256SUMS)
