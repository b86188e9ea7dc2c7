// Command oci writes a container image with nothing in it but rbtool, as an OCI image layout.
//
//	oci DIR ARCH=BINARY...
//
// It writes an image for each architecture, and their index, into the directory DIR. VERSION, COMMIT
// and SOURCE_DATE_EPOCH describe the image. The same input gives the same files.
package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: oci DIR ARCH=BINARY...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "oci:", err)
		os.Exit(1)
	}
}

func run(dir string, binaries []string) error {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	created := time.Unix(seconds, 0).UTC()
	version := os.Getenv("VERSION")
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range binaries {
		arch, path, ok := strings.Cut(b, "=")
		if !ok {
			return fmt.Errorf("argument %q: not ARCH=BINARY", b)
		}
		img, err := image(arch, path, labels(version, created), created)
		if err != nil {
			return fmt.Errorf("image for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// A tag has no "+".
	tag := strings.ReplaceAll(version, "+", "-")
	return path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag,
		"io.containerd.image.name":          "rbtool:" + tag,
	}))
}

// labels are those of the OCI image specification, annotations.md.
func labels(version string, created time.Time) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    "rbtool",
		"org.opencontainers.image.version":  version,
		"org.opencontainers.image.revision": os.Getenv("COMMIT"),
		"org.opencontainers.image.created":  created.Format(time.RFC3339),
		"org.opencontainers.image.source":   "https://github.com/rbtool/rbtool",
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
}

// image returns the image for one architecture: the file at path as /rbtool, which is its entry point.
func image(arch, path string, labels map[string]string, created time.Time) (v1.Image, error) {
	content, err := layer(path, created)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{
		Layer:   l,
		History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "rbtool make dist"},
	})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", arch, v1.Time{Time: created}
	file.Config = v1.Config{Entrypoint: []string{"/rbtool"}, Labels: labels}
	return mutate.ConfigFile(img, file)
}

// layer returns a tar archive with the file at path as /rbtool.
func layer(path string, modified time.Time) ([]byte, error) {
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{
		Name: "rbtool", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(binary)), ModTime: modified, Format: tar.FormatPAX,
	}); err != nil {
		return nil, err
	}
	if _, err := w.Write(binary); err != nil {
		return nil, err
	}
	err = w.Close() // writes the end of the archive
	return b.Bytes(), err
}
