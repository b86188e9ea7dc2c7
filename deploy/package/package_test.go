// Package pack tests what make dist builds.
package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/testenv"
)

const (
	version = "1.2.3"
	commit  = "0123456789abcdef0123456789abcdef01234567"
	epoch   = 1000000000
)

// The packages of one architecture. make dist-check tests more: that they are reproducible, lintian,
// installation and removal.
func TestDist(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		testenv.SkipWithout(t, "go-tool", err)
	}
	if testing.Short() {
		t.Skip("the packages are the same with -race")
	}
	dist := t.TempDir()
	cmd := exec.Command("../../tools/dist.sh", dist, runtime.GOARCH)
	cmd.Env = append(os.Environ(), "VERSION="+version, "COMMIT="+commit, "SOURCE_DATE_EPOCH="+strconv.Itoa(epoch))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	linux := "rbtool-1.2.3-linux-" + runtime.GOARCH
	deb := "rbtool_1.2.3-1_" + runtime.GOARCH + ".deb"
	checkSums(t, dist, deb, linux+".tar.gz", linux+".cdx.json", "rbtool-1.2.3-oci.tar")

	tarball := unzip(t, read(t, dist, linux+".tar.gz"))
	files := contents(t, tarball, linux+"/")
	debFiles := contents(t, unzip(t, member(t, read(t, dist, deb), "data.tar.gz")), "./usr/")
	t.Run("tarball", func(t *testing.T) { checkTree(t, files, "share/zsh/site-functions/_rbtool", "/usr/local") })
	t.Run("deb", func(t *testing.T) { checkTree(t, debFiles, "share/zsh/vendor-completions/_rbtool", "/usr") })
	t.Run("command", func(t *testing.T) { checkCommand(t, files) })
	t.Run("image", func(t *testing.T) { checkImage(t, read(t, dist, "rbtool-1.2.3-oci.tar"), files["bin/rbtool"]) })
	t.Run("SBOM", func(t *testing.T) { checkSBOM(t, read(t, dist, linux+".cdx.json")) })
}

// checkSums checks that dist has the files, that SHA256SUMS lists all, and that the sums are right.
func checkSums(t *testing.T, dist string, files ...string) {
	t.Helper()
	listed := map[string]string{}
	for line := range strings.Lines(string(read(t, dist, "SHA256SUMS"))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		listed[name] = sum
	}
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(listed)+1 {
		t.Errorf("%d files, %d sums", len(entries), len(listed))
	}
	for name, sum := range listed {
		if got := sha256.Sum256(read(t, dist, name)); hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s has another sum", name)
		}
	}
	for _, name := range files {
		if listed[name] == "" {
			t.Fatalf("no %s: %v", name, entries)
		}
	}
}

// checkTree checks the files that every package has.
func checkTree(t *testing.T, files map[string][]byte, zsh, prefix string) {
	for name, want := range map[string]string{
		"share/bash-completion/completions/rbtool":    `complete .*-F __start_rbtool rbtool`,
		"share/fish/vendor_completions.d/rbtool.fish": `complete -c rbtool `,
		zsh: `^#compdef rbtool`,
		"lib/systemd/system/rbtool-exporter.service":      "(?m)^ExecStart=" + prefix + "/bin/rbtool exporter",
		"lib/systemd/system/rbtool-exporter.socket":       "ListenStream",
		"share/man/man1/rbtool.1.gz":                      `\.TH "RBTOOL" "1" "Sep 2001" "rbtool 1\.2\.3"`,
		"share/man/man1/rbtool-probe-proctrace-stop.1.gz": `Stop tracing`,
	} {
		text := files[name]
		if path.Ext(name) == ".gz" && text != nil {
			text = unzip(t, text)
		}
		if !regexp.MustCompile(want).Match(text) {
			t.Errorf("%s: %.200q does not match %s", name, text, want)
		}
	}
	licences := files["share/doc/rbtool/third-party.txt"]
	if zipped, ok := files["share/doc/rbtool/third-party.txt.gz"]; ok {
		licences = unzip(t, zipped)
	}
	for _, want := range []string{"github.com/cilium/ebpf v", "golang.org/x/sys v", "==== Go go1"} {
		if !bytes.Contains(licences, []byte(want)) {
			t.Errorf("licences lack %s", want)
		}
	}
}

func checkCommand(t *testing.T, files map[string][]byte) {
	binary := filepath.Join(t.TempDir(), "rbtool")
	if err := os.WriteFile(binary, files["bin/rbtool"], 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "rbtool 1.2.3 commit 0123456789ab "+runtime.Version()) {
		t.Errorf("version: %v, %s", err, out)
	}
}

// checkImage checks that a container image is complete, and has nothing but the binary.
func checkImage(t *testing.T, image, binary []byte) {
	files := contents(t, image, "./")
	blob := func(digest string) []byte {
		hash, _ := strings.CutPrefix(digest, "sha256:")
		b := files["blobs/sha256/"+hash]
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != hash {
			t.Fatalf("blob %s is missing or another", digest)
		}
		return b
	}
	type descriptor struct{ Digest string }
	var index, images struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	var config struct {
		Architecture string
		Config       struct {
			Entrypoint []string
			Labels     map[string]string
		}
	}
	decode(t, files["index.json"], &index)
	decode(t, blob(index.Manifests[0].Digest), &images)
	decode(t, blob(images.Manifests[0].Digest), &manifest)
	decode(t, blob(manifest.Config.Digest), &config)
	if config.Architecture != runtime.GOARCH || !slices.Equal(config.Config.Entrypoint, []string{"/rbtool"}) ||
		config.Config.Labels["org.opencontainers.image.revision"] != commit {
		t.Errorf("config: %+v", config)
	}
	layer := contents(t, unzip(t, blob(manifest.Layers[0].Digest)), "")
	if len(manifest.Layers) != 1 || len(layer) != 1 || !bytes.Equal(layer["rbtool"], binary) {
		t.Errorf("%d layers, %d files in the first", len(manifest.Layers), len(layer))
	}
}

func checkSBOM(t *testing.T, sbom []byte) {
	var s struct {
		Metadata struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version string }
	}
	decode(t, sbom, &s)
	var names []string
	for _, c := range s.Components {
		names = append(names, c.Name)
	}
	got := s.Metadata.Component
	if got.Name != "github.com/rbtool/rbtool" || got.Version != "v1.2.3" || !slices.Contains(names, "github.com/cilium/ebpf") || !slices.Contains(names, "std") {
		t.Errorf("SBOM of %v with %v", got, names)
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%v: %.200q", err, text)
	}
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	b, err = io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// member returns a file of an ar archive, whose headers are 60 bytes of text.
func member(t *testing.T, archive []byte, name string) []byte {
	t.Helper()
	for rest := archive[len("!<arch>\n"):]; len(rest) >= 60; {
		size, err := strconv.Atoi(strings.TrimSpace(string(rest[48:58])))
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimRight(string(rest[:16]), " /") == name {
			return rest[60 : 60+size]
		}
		rest = rest[60+(size+1)&^1:]
	}
	t.Fatalf("no %s in the archive", name)
	return nil
}

// contents returns the files of a tar archive by their names below prefix. It checks that all belong
// to root, that none can be written by others, and their times.
func contents(t *testing.T, archive []byte, prefix string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		want := int64(0o644)
		if h.Typeflag == tar.TypeDir || path.Base(h.Name) == "rbtool" && !strings.Contains(h.Name, "completions") && !strings.Contains(h.Name, "overrides") {
			want = 0o755
		}
		type attributes struct {
			Mode     int64
			Uid, Gid int
			Time     time.Time
		}
		if diff := cmp.Diff(attributes{want, 0, 0, time.Unix(epoch, 0).UTC()}, attributes{h.Mode & 0o7777, h.Uid, h.Gid, h.ModTime.UTC()}); diff != "" {
			t.Errorf("%s: -want +got\n%s", h.Name, diff)
		}
		if h.Typeflag == tar.TypeReg {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[strings.TrimPrefix(h.Name, prefix)] = b
		}
	}
}
