package objects

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/rbtool/rbtool/internal/elffile"
)

// maxFile limits how much of a file is searched, in bytes: of an ELF file its data.
const maxFile = 1 << 30

// OfFile finds the BPF objects in a file: the file itself, or objects anywhere inside it, as [Scan] does. The
// objects keep no file open. It opens only regular files, and does not block. A file without objects is
// no error.
func OfFile(path string) (found []*Object, err error) {
	f, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if _, err := elffile.New(f); err != nil && size > maxFile {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: %d bytes, limit %d", elffile.ErrTooLarge, size, maxFile)}
	}
	left := int64(maxFile)
	err = scan(context.Background(), f, size, &left, func(off, end int64) {
		if end-off > maxObject {
			return
		}
		if o := load(f, off, end, path); o != nil {
			found = append(found, o)
		}
	})
	if err != nil {
		return found, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return found, nil
}
