package infer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

// owner returns a loader that has another process own the ring. The executable of that process is this test
// binary with all objects of the corpus in it, stripped or with DWARF.
func owner(t *testing.T) loader {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(corpus, "*.o"))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	l := loader{name: "owner", load: withCilium, owners: map[bool]string{}}
	for _, strip := range []bool{true, false} {
		contents := self
		for _, file := range files {
			object, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strip {
				object = stripped(t, object)
			}
			contents = append(contents, object...)
		}
		l.owners[strip] = filepath.Join(t.TempDir(), "owner")
		if err := os.WriteFile(l.owners[strip], contents, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// ownedBy starts a process from an executable, which owns the ring until l is closed.
func (l *loaded) ownedBy(t testing.TB, file string) {
	t.Helper()
	process := testenv.StartFile(t, file, "own", l.ring)
	process.Expect(t, "ready")
	unload := l.close
	l.close = func() {
		process.Kill()
		unload()
	}
}
