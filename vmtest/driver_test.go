package main

import (
	"os/exec"
	"runtime"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

// A vmtest that is linked with cgo compiles a static driver, once.
func TestDriverOfADynamicVmtest(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		testenv.SkipWithout(t, "go-tool", err)
	}
	dir, err := newRunDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.remove()
	h := &host{self: "vmtest", dir: dir}
	path, err := h.driver(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if static, err := isStatic(path); err != nil || !static {
		t.Errorf("static: %v, %v", static, err)
	}
	if again, err := h.driver(t.Context(), runtime.GOARCH); again != path || err != nil {
		t.Errorf("a second driver %s, %v", again, err)
	}
	h.static = true
	if self, err := h.driver(t.Context(), runtime.GOARCH); self != h.self || err != nil {
		t.Errorf("driver of a static vmtest: %s, %v", self, err)
	}
}
