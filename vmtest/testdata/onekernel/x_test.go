package onekernel

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFailsOn61(t *testing.T) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	if release := unix.ByteSliceToString(name.Release[:]); strings.HasPrefix(release, "6.1.") {
		t.Errorf("on %s, as it must", release)
	}
}
