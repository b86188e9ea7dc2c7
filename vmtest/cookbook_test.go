//go:build vm

package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The recipe of docs/cookbook.md runs the tests of any module, also those that skip. Those of
// internal/cli run the other recipes.
func TestTheRecipeOfTheCookbook(t *testing.T) {
	page, err := os.ReadFile("../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh vm\n(.*?)^```$").FindAllSubmatch(page, -1)
	if len(blocks) != 1 {
		t.Fatalf("%d blocks", len(blocks))
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const published = "go run github.com/rbtool/rbtool/vmtest@latest"
	recipe := string(blocks[0][1])
	if !strings.HasPrefix(recipe, published) {
		t.Fatalf("the recipe is %s", recipe)
	}
	t.Setenv("VMTEST_TEST_AS_COMMAND", "1")
	cmd := exec.Command("bash", "-ec", strings.ReplaceAll(recipe, published, exe))
	cmd.Dir = module(t, `package x

import "testing"

func TestPasses(*testing.T)  {}
func TestSkips(t *testing.T) { t.Skip("for a reason of its own") }
`)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "2 kernels: 0 problems\n2 passed, 0 failed, 2 skipped\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
