package kernels

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// Offsets in the header of a bzImage (Documentation/arch/x86/boot.rst).
const (
	setupSects    = 0x1f1
	headerMagic   = 0x202 // "HdrS"
	kernelVersion = 0x20e
	payloadOffset = 0x248
	payloadLength = 0x24c
	headerEnd     = 0x250
)

func header(r io.ReaderAt) ([]byte, error) {
	h := make([]byte, headerEnd)
	if _, err := r.ReadAt(h, 0); err != nil {
		return nil, fmt.Errorf("not a bzImage: %w", err)
	}
	if string(h[headerMagic:headerMagic+4]) != "HdrS" {
		return nil, errors.New("neither a bzImage (no HdrS header) nor an Image of arm64")
	}
	return h, nil
}

// readImage returns the architecture and the release of a kernel image.
func readImage(path string) (arch, release string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	text, err := armImage(f)
	if err != nil {
		return "", "", err
	}
	if text == nil {
		release, err = bzRelease(f)
		return "amd64", release, err
	}
	m := banner.FindSubmatch(text)
	if m == nil {
		return "", "", errors.New("read version: the image has no version string")
	}
	return "arm64", string(m[1]), nil
}

// armMagic is at offset 56 of arm64's Image (Documentation/arch/arm64/booting.rst).
const armMagic = "ARM\x64"

// armImage returns the content of arm64's Image, which gzip may have compressed, or nil for another
// file.
func armImage(f io.Reader) ([]byte, error) {
	buffered := bufio.NewReader(f)
	r := io.Reader(buffered)
	if start, err := buffered.Peek(2); err == nil && string(start) == "\x1f\x8b" {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, err
		}
	}
	head := make([]byte, 64)
	if _, err := io.ReadFull(r, head); err != nil || string(head[56:60]) != armMagic {
		return nil, nil
	}
	rest, err := io.ReadAll(r)
	return append(head, rest...), err
}

var banner = regexp.MustCompile(`Linux version (\d\S*) `) // init/version.c, linux_banner

// bzRelease reads the kernel's release from the bzImage header: the first word of the version
// string.
func bzRelease(f io.ReaderAt) (string, error) {
	h, err := header(f)
	if err != nil {
		return "", err
	}
	version := make([]byte, 256)
	at := int64(binary.LittleEndian.Uint16(h[kernelVersion:])) + 0x200
	if n, err := f.ReadAt(version, at); n == 0 {
		return "", fmt.Errorf("read version: %w", err)
	}
	release, _, _ := strings.Cut(string(version), " ")
	if release == "" || strings.ContainsAny(release, "\x00/") {
		return "", errors.New("read version: the image has no version string")
	}
	return release, nil
}

// extract decompresses the ELF kernel inside a bzImage into the file path. If it does not know the
// compression, it writes no file and returns nil.
func extract(ctx context.Context, image, path string) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := header(f)
	if err != nil {
		return err
	}
	start := (int64(h[setupSects])+1)*512 + int64(binary.LittleEndian.Uint32(h[payloadOffset:]))
	// The last four bytes are the uncompressed size.
	payload := io.NewSectionReader(f, start, int64(binary.LittleEndian.Uint32(h[payloadLength:]))-4)
	magic := make([]byte, 4)
	if _, err := payload.ReadAt(magic, 0); err != nil {
		return fmt.Errorf("read payload: %w", err)
	}
	var tool []string
	switch string(magic) {
	case "\x28\xb5\x2f\xfd":
		tool = []string{"zstd", "-dcq"}
	case "\xfd7zX":
		tool = []string{"xz", "-dc", "--single-stream"}
	default:
		return nil
	}
	return decompress(ctx, tool, payload, path)
}

func decompress(ctx context.Context, tool []string, from io.Reader, path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tool[0], tool[1:]...)
	cmd.Stdin, cmd.Stdout = from, out
	// The error is reported only if the result is bad: xz and zstd write all output, then fail at
	// the data that follow the compressed stream.
	runErr := cmd.Run()
	if err := out.Close(); err != nil {
		return err
	}
	if !isELF(path) {
		return errors.Join(fmt.Errorf("decompress kernel with %s: output is not an ELF file: %w", tool[0], runErr), os.Remove(path))
	}
	return nil
}

func isELF(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == "\x7fELF"
}
