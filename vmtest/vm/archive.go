package vm

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// archive writes a cpio archive for an initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst, "newc"): a header of eight-digit
// hexadecimal numbers before each file, everything padded to four bytes. close returns the first
// error.
type archive struct {
	w     *bufio.Writer
	n     int64
	inode int
	err   error
}

func newArchive(w io.Writer) *archive { return &archive{w: bufio.NewWriter(w)} }

func (a *archive) dir(path string) { a.entry(path, 0o040755, nil) }

func (a *archive) file(path string, mode int, data []byte) { a.entry(path, 0o100000|mode, data) }

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}

func (a *archive) entry(path string, mode int, data []byte) {
	a.inode++
	name := strings.TrimPrefix(path, "/")
	const links = 1
	header := []int{a.inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0}
	a.write([]byte("070701"))
	for _, v := range header {
		a.write(fmt.Appendf(nil, "%08x", v))
	}
	a.write([]byte(name + "\x00"))
	a.pad()
	a.write(data)
	a.pad()
}

func (a *archive) pad() { a.write(make([]byte, -a.n&3)) }

func (a *archive) write(p []byte) {
	if a.err != nil {
		return
	}
	n, err := a.w.Write(p)
	a.n += int64(n)
	a.err = err
}
