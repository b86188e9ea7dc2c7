package pin_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

const other = 65534 // the user of asNobody

// While another user keeps replacing new pins with symbolic links, a mode is set only on a pin, never on the
// target of a link.
func TestNoOtherFileGetsAPinsMode(t *testing.T) {
	const variable = "RBTOOL_TEST_DIR"
	if stage == nobody {
		plant(t, os.Getenv(variable))
		return
	}
	if !privateMounts(t) {
		return
	}
	dir := publicBPFFS(t)
	must(t, unix.Chmod(dir, 0o777)) // not sticky, unlike after the mount: any user can rename entries
	attacker := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	attacker.Env = append(os.Environ(), "RBTOOL_TEST_STAGE="+nobody, variable+"="+dir)
	attacker.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
	attacker.Stderr = os.Stderr
	stop, err := attacker.StdinPipe()
	must(t, err)
	out, err := attacker.StdoutPipe()
	must(t, err)
	must(t, attacker.Start())
	defer func() {
		stop.Close()
		must(t, attacker.Wait())
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the other user did not begin: %v", err)
	}

	target := filepath.Join(filepath.Dir(dir), "target")
	must(t, os.WriteFile(target, nil, 0o600))
	m := testenv.Ring(t, testenv.PageSize)
	for pins := range 500 {
		// Fails if the other user has exchanged the pin.
		_ = os.Remove(dir + "/ring")
		_ = os.Remove(dir + "/link")
		_ = os.Remove(dir + "/ring")
		must(t, pin.Map(m, dir+"/ring", pin.Options{Mode: 0o666}))
		st, err := os.Stat(target)
		must(t, err)
		if st.Mode() != 0o600 {
			t.Fatalf("after %d pins the target's mode is %v", pins+1, st.Mode())
		}
	}
}

// plant exchanges each new pin in dir with a symbolic link until standard input ends.
func plant(t *testing.T, dir string) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = os.Stdin.Read(make([]byte, 1))
	}()
	fmt.Println("begun")
	for {
		select {
		case <-ended:
			return
		default:
		}
		err := unix.Renameat2(unix.AT_FDCWD, dir+"/link", unix.AT_FDCWD, dir+"/ring", unix.RENAME_EXCHANGE)
		if err == unix.ENOENT {
			_ = os.Symlink(filepath.Join(filepath.Dir(dir), "target"), dir+"/link")
		}
	}
}

func TestDirectoriesThatOthersCanChangeAreRefused(t *testing.T) {
	testenv.NoLeaks(t)
	dir, m := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize)
	must(t, os.Chmod(dir, 0o755))
	make := func(path string, owner, group int, mode uint32) string {
		must(t, os.Mkdir(dir+path, 0o700))
		must(t, unix.Chown(dir+path, owner, group))
		must(t, unix.Chmod(dir+path, mode))
		return dir + path
	}
	foreign := make("/foreign", other, other, 0o755)
	below := make("/foreign/below", 0, 0, 0o700)
	world := make("/world", 0, 0, 0o777)
	group := make("/group", 0, other, 0o770)
	own := make("/own", 0, 0, 0o700)
	must(t, pin.Map(m, own+"/ring", pin.Options{}))
	link := func(path, target string, owner int) string {
		must(t, os.Symlink(target, dir+path))
		must(t, os.Lchown(dir+path, owner, owner))
		return dir + path
	}
	theirs := link("/theirs", own, other)
	theirsToPin := link("/theirpin", own+"/ring", other)
	cause := func(path, why string) string { return "not safe from other users: directory " + path + " " + why }
	linked := func(path string) string {
		return "not safe from other users: " + path + " is a symbolic link of user 65534"
	}
	before := tree(t, dir)
	for _, tt := range []struct{ name, in, cause string }{
		{"another user's", foreign, cause(foreign, "belongs to user 65534")},
		{"the caller's, in another user's", below, cause(foreign, "belongs to user 65534")},
		{"a missing one in another user's", foreign + "/missing", cause(foreign, "belongs to user 65534")},
		{"one that all may write to", world, cause(world, "can be written to by others (mode 0777)")},
		{"one that another group may write to", group, cause(group, "can be written to by others (mode 0770)")},
		{"one by another user's symbolic link", theirs, linked(theirs)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.in + "/x"
			wantError(t, pin.Map(m, path, pin.Options{Mode: 0o666}), pin.ErrUnsafe, `pin map to "`+path+`": `+tt.cause)
			wantError(t, pin.Replace(m, path, pin.Options{}), pin.ErrUnsafe, `replace map at "`+path+`": `+tt.cause)
			wantError(t, pin.Check(path), pin.ErrUnsafe, `pin to "`+path+`": `+tt.cause)
			wantError(t, bpffs.CheckSafe(tt.in), pin.ErrUnsafe, `use "`+tt.in+`": `+tt.cause)
		})
	}
	_, err := pin.Open(theirsToPin)
	wantError(t, err, pin.ErrUnsafe, `open map "`+theirsToPin+`": `+linked(theirsToPin))
	_, err = pin.Open(theirs + "/ring")
	wantError(t, err, pin.ErrUnsafe, `open map "`+theirs+`/ring": `+linked(theirs))
	wantError(t, pin.Remove(theirs+"/ring"), pin.ErrUnsafe, `unpin "`+theirs+`/ring": `+linked(theirs))
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("a refusal left something behind, -want +got:\n%s", diff)
	}
}

func TestDirectoriesThatOthersCannotChangeAreTaken(t *testing.T) {
	testenv.NoLeaks(t)
	dir, m := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize)
	for name, mode := range map[string]uint32{"sticky": 0o1777, "readable": 0o755, "ofgroup": 0o775} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		must(t, unix.Chmod(filepath.Join(dir, name), mode))
		must(t, bpffs.CheckSafe(filepath.Join(dir, name)))
		must(t, pin.Replace(m, filepath.Join(dir, name, "ring"), pin.Options{Mode: 0o640}))
	}
	must(t, os.Symlink("sticky", dir+"/link"))
	must(t, pin.Map(m, dir+"/link/second", pin.Options{}))
	must(t, pin.Remove(dir+"/link/ring"))
	// A pin can be removed even if another user owns its directory.
	must(t, os.Chown(dir+"/readable", other, other))
	must(t, pin.Remove(dir+"/readable/ring"))
}

// A loop of symbolic links is an error.
func TestALoopOfSymbolicLinksEnds(t *testing.T) {
	dir := testenv.BPFFS(t)
	must(t, os.Symlink("b", dir+"/a"))
	must(t, os.Symlink(dir+"/a", dir+"/b"))
	_, err := pin.Open(dir + "/a")
	wantError(t, err, unix.ELOOP, `open map "`+dir+`/a": too many levels of symbolic links`)
	wantError(t, pin.Check(dir+"/a/x"), unix.ELOOP, `pin to "`+dir+`/a/x": too many levels of symbolic links`)
}
