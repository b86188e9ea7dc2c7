package session

import (
	"bytes"
	"io"
	"os"
)

// follower reads lines from a file to which another process appends.
type follower struct {
	path string
	file *os.File
	rest []byte // read and not yet returned
	// read is the number of bytes read.
	read int64
}

// line returns the next line, or nil if no complete line has arrived.
func (f *follower) line() ([]byte, error) {
	if f.file == nil {
		file, err := os.Open(f.path)
		if err != nil {
			return nil, err
		}
		f.file = file
	}
	for {
		if i := bytes.IndexByte(f.rest, '\n'); i >= 0 {
			line := f.rest[:i]
			f.rest = f.rest[i+1:]
			return line, nil
		}
		chunk := make([]byte, 256<<10)
		n, err := f.file.Read(chunk)
		f.rest = append(f.rest, chunk[:n]...)
		f.read += int64(n)
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (f *follower) close() {
	if f.file != nil {
		f.file.Close()
	}
}
