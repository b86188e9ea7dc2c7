package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDirectoriesOfKilledRunsAreRemoved(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	first, err := newRunDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	killed, err := newRunDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed.path(), "0.test"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	killed.dir.Close() // releases the lock, as the kernel does when a process is killed
	last, err := newRunDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{first.path(): true, killed.path(): false, last.path(): true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it to be there: %t", path, err, want)
		}
	}
	first.remove()
	last.remove()
	if left, _ := os.ReadDir(cache); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
