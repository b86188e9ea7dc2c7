package inspect

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

// Reading a process that has as many mappings as the kernel allows takes little memory.
func TestMapsAreReadLineByLine(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "maps"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range 65530 {
		fmt.Fprintf(w, "%x-%x rw-s 00000000 08:01 131 /%s\n", i<<12, i<<12+4096, strings.Repeat("a", 1000))
	}
	fmt.Fprintf(w, "7f2c8a000000-7f2c8a001000 rw-s 00001000 00:0e 1057      %s\n", mapFile)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var vmas []vma
	allocated := testenv.Allocated(func() { vmas, err = readMaps(dir) })
	if err != nil || len(vmas) != 1 || vmas[0].offset != 4096 || !vmas[0].writable {
		t.Errorf("%+v, %v", vmas, err)
	}
	if allocated > 1<<20 {
		t.Errorf("%d bytes allocated", allocated)
	}
}
