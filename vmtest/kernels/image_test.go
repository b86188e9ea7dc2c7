package kernels

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

// armKernel returns an Image of arm64 that contains a text.
func armKernel(text string) []byte {
	image := make([]byte, 4096)
	copy(image[56:], armMagic)
	copy(image[1000:], "Linux version %s\x00"+text)
	return image
}

func TestImagesSayWhatTheyAre(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(armKernel("Linux version 6.12.1-arm64 (x)")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	intel := make([]byte, 4096)
	copy(intel[headerMagic:], "HdrS")
	intel[kernelVersion+1] = 1
	copy(intel[0x300:], "6.1.2-amd64 (x)")
	for name, tt := range map[string]struct {
		image               []byte
		arch, release, want string
	}{
		"arm64":                   {armKernel("Linux version 7.2.1-arm64-16k (x)"), "arm64", "7.2.1-arm64-16k", ""},
		"arm64, by gzip":          {packed.Bytes(), "arm64", "6.12.1-arm64", ""},
		"arm64 without a version": {armKernel(""), "", "", "read version: the image has no version string"},
		"amd64":                   {intel, "amd64", "6.1.2-amd64", ""},
		"neither":                 {make([]byte, 4096), "amd64", "", "neither a bzImage (no HdrS header) nor an Image of arm64"},
	} {
		path := filepath.Join(t.TempDir(), "vmlinuz")
		if err := os.WriteFile(path, tt.image, 0o644); err != nil {
			t.Fatal(err)
		}
		arch, release, err := readImage(path)
		if (err != nil || tt.want != "") && (err == nil || err.Error() != tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if arch != tt.arch || release != tt.release {
			t.Errorf("%s: %s %s", name, arch, release)
		}
	}
}
