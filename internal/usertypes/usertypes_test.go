package usertypes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func add(e Entry) func([]Entry) ([]Entry, error) {
	return func(known []Entry) ([]Entry, error) { return append(known, e), nil }
}

func TestEntriesAreKept(t *testing.T) {
	f := File{Path: filepath.Join(t.TempDir(), "a", "b", "types")}
	if got, err := f.Read(); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	want := []Entry{{Map: "events", Size: 16, Type: "e", Name: "struct e", C: "struct e { \x01 };", From: "e.h"}, {Map: "other", Type: "o", C: "struct o {};"}}
	for _, e := range want {
		if err := f.Update(add(e)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Read()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%s, %v", diff, err)
	}
}

func TestAFailedChangeLeavesTheFile(t *testing.T) {
	dir := t.TempDir()
	f := File{Path: filepath.Join(dir, "types")}
	if err := f.Update(add(Entry{Map: "m"})); err != nil {
		t.Fatal(err)
	}
	failure := errors.New("no")
	if err := f.Update(func([]Entry) ([]Entry, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Error(err)
	}
	if got, err := f.Read(); len(got) != 1 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	large := Entry{C: strings.Repeat("x", maxFile)}
	if err := f.Update(add(large)); err == nil {
		t.Error("too large a file was written")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 { // types and types.lock
		t.Errorf("%v, %v", left, err)
	}
}

func TestTwoAtOnceLoseNothing(t *testing.T) {
	f := File{Path: filepath.Join(t.TempDir(), "types")}
	const workers, each = 8, 10
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				if err := f.Update(add(Entry{Map: fmt.Sprint(w, i)})); err != nil {
					t.Error(err)
				}
				if _, err := f.Read(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, err := f.Read(); len(got) != workers*each || err != nil {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// other is a user without rights.
const other = 65533

// needRoot skips a test that acts as another user.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestTheOwnersRightsAreUsed(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	for dir := root; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	home, secret := filepath.Join(root, "home"), filepath.Join(root, "secret")
	for _, dir := range []string{home, secret} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(home, "link")
	if err := errors.Join(os.Symlink(secret, link), os.Lchown(link, other, other), os.Chown(home, other, other)); err != nil {
		t.Fatal(err)
	}
	if o := ownerOf(secret); o != nil {
		t.Errorf("root's directory belongs to %v", *o)
	}
	for dir, want := range map[string]error{home: nil, link: fs.ErrPermission, filepath.Join(link, "x"): fs.ErrPermission} {
		o := ownerOf(dir)
		if o == nil || *o != (owner{other, other}) {
			t.Fatalf("%s belongs to %v", dir, o)
		}
		f := File{filepath.Join(dir, "types"), o}
		if err := f.Update(add(Entry{Map: "m"})); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", dir, err, want)
		}
		if _, err := f.Read(); !errors.Is(err, want) {
			t.Errorf("read %s: %v, want %v", dir, err, want)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(home, "types"), &st); err != nil || st.Uid != other || st.Mode&0o777 != 0o600 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := os.WriteFile(filepath.Join(secret, "after"), nil, 0o600); err != nil {
		t.Errorf("the process lost its own rights: %v", err)
	}
}

func TestUnderSudoItIsTheCallersFile(t *testing.T) {
	needRoot(t)
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("SUDO_UID", "1")
	f, err := Find()
	if err != nil {
		t.Skip(err) // there is no user 1
	}
	if f.owner == nil || f.owner.uid != 1 || !strings.HasSuffix(f.Path, "/.config/rbtool/types") {
		t.Errorf("%+v", f)
	}
	for _, id := range []string{"4000000", "x", "-1"} {
		t.Setenv("SUDO_UID", id)
		if f, err := Find(); err == nil {
			t.Errorf("%s: %+v", id, f)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`[{"map":"m","size":1,"c":"struct e {};"}]`))
	path := filepath.Join(f.TempDir(), "types")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = File{Path: path}.Read()
	})
}
