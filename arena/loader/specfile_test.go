package loader_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/internal/testenv"
)

// LoadCollectionSpec does not wait for a FIFO or read a sparse file.
func TestLoadCollectionSpecReadsRegularFilesOfABoundedSize(t *testing.T) {
	dir := t.TempDir()
	fifo, sparse := filepath.Join(dir, "fifo"), filepath.Join(dir, "sparse")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sparse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, sparse, "/dev/zero"} {
		var err error
		allocated := testenv.Allocated(func() { _, err = loader.LoadCollectionSpec(path) })
		if !errors.Is(err, fs.ErrInvalid) || allocated > 1<<20 {
			t.Errorf("%s: %v, %d bytes allocated", path, err, allocated)
		}
	}
	object := filepath.Join("..", "..", "decode", "infer", "testdata", "foreign_bpfel.o")
	if spec, err := loader.LoadCollectionSpec(object); err != nil || len(spec.Maps) == 0 {
		t.Errorf("%v, %v", spec, err)
	}
}
