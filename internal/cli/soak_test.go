package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
)

const (
	// soakEnv is the environment variable that sets the duration of a soak, such as 1h.
	soakEnv = "RBTOOL_SOAK"
	// soakSeedEnv is the environment variable with the seed of an earlier soak to repeat. A repeated
	// soak does the same acts; their timing depends on the scheduler and differs.
	soakSeedEnv = "RBTOOL_SOAK_SEED"
)

// soak runs processes that share a ring, and disturbs them at random, in rounds. Only one goroutine
// disturbs them. count, add and fault may be called by any goroutine.
type soak struct {
	t      *testing.T
	rng    *rand.Rand
	seed   uint64
	dir    string // directory for files
	host   *place // actors run in the pid namespace of the test
	alone  *place // each actor runs in a new pid namespace
	pod    *place // actors share one pid namespace
	actors []*actor

	mu     sync.Mutex
	faults []string
	counts map[string]uint64
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(soakSeedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	s := &soak{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), counts: map[string]uint64{},
		host: newPlace(t, "host", nil), alone: newPlace(t, "alone", nil),
	}
	s.alone.inside, s.alone.flags = true, unix.CLONE_NEWPID|unix.CLONE_NEWNS
	t.Cleanup(func() {
		s.killAll(func(*actor) {})
		s.closePod()
		s.host.close()
		s.alone.close()
	})
	return s
}

// run calls round repeatedly for the duration in the environment, or a few times if that is not set.
func (s *soak) run(round func()) {
	s.t.Helper()
	lasts, rounds := time.Duration(0), 4
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			s.t.Fatal(err)
		}
	} else if testing.Short() {
		rounds = 1
	}
	s.t.Logf("seed %d (%s repeats it)", s.seed, soakSeedEnv)
	const report = 5 * time.Minute
	began, told := time.Now(), time.Now()
	for n := 1; n <= rounds || time.Since(began) < lasts; n++ {
		s.openPod()
		round()
		s.closePod()
		if len(s.faults) > 0 {
			s.t.Fatalf("round %d, seed %d, after %v:\n%s\n%s", n, s.seed, time.Since(began), strings.Join(s.faults, "\n"), s.summary())
		}
		s.count("rounds")
		if time.Since(told) > report {
			told = time.Now()
			s.t.Logf("%v: %s", time.Since(began).Round(time.Second), s.summary())
		}
	}
	s.t.Logf("%v: %s", time.Since(began).Round(time.Second), s.summary())
}

// summary returns how often each act was done.
func (s *soak) summary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, s.counts[what]))
	}
	return strings.Join(parts, ", ")
}

func (s *soak) count(what string) { s.add(what, 1) }

func (s *soak) add(what string, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what] += n
}

// fault records a failure of the test. The round continues.
func (s *soak) fault(format string, args ...any) {
	const enough = 20
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < enough {
		s.faults = append(s.faults, fmt.Sprintf(format, args...))
	}
}

// openPod starts process 1 of a new pid namespace, in which actors can start.
func (s *soak) openPod() {
	s.t.Helper()
	ready := make(chan struct{})
	read := func(r *bufio.Reader) error {
		_, err := r.ReadString('\n')
		close(ready)
		return err
	}
	init, err := newActor(s.alone, read, nil, "soak-pod")
	if err != nil {
		s.t.Fatal(err)
	}
	<-ready
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", init.cmd.Process.Pid))
	if err != nil {
		s.t.Fatalf("%v: %v", err, init)
	}
	defer ns.Close()
	s.pod = newPlace(s.t, "pod", ns)
	s.pod.inside, s.pod.flags, s.pod.init = true, unix.CLONE_NEWNS, init
}

// closePod kills process 1 of the namespace. The kernel kills the other processes with it. closePod
// returns when all have been reaped, which requires that their output is read.
func (s *soak) closePod() {
	if s.pod == nil {
		return
	}
	s.pod.init.kill()
	<-s.pod.init.ended
	s.pod.close()
	s.pod = nil
}

// somewhere picks a random place.
func (s *soak) somewhere() *place {
	all := []*place{s.host, s.alone, s.pod}
	return all[s.rng.IntN(len(all))]
}

// start starts a command of this binary at p. read is called with its standard output.
func (s *soak) start(p *place, read func(*bufio.Reader) error, stdin *os.File, args ...string) *actor {
	s.t.Helper()
	a, err := newActor(p, read, stdin, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.actors = append(s.actors, a)
	s.count("started in " + p.name)
	return a
}

// any returns a random actor, or nil if none is running.
func (s *soak) any() *actor {
	if len(s.actors) == 0 {
		return nil
	}
	return s.actors[s.rng.IntN(len(s.actors))]
}

// disturb does one of these at random: it stops, interrupts or kills an actor, or kills all actors of
// the pod.
func (s *soak) disturb(a *actor) {
	switch s.rng.IntN(8) {
	case 0, 1, 2:
		a.signal(unix.SIGSTOP)
		s.count("stopped")
	case 3:
		a.interrupted = true
		a.signal(unix.SIGINT)
		s.count("interrupted")
	case 4:
		for _, a := range s.actors {
			if a.place == s.pod {
				a.kill()
			}
		}
		s.closePod()
		s.openPod()
		s.count("pods killed")
	default:
		a.kill()
		s.count("killed")
	}
}

// killAll kills all actors and calls judge for each.
func (s *soak) killAll(judge func(*actor)) {
	for _, a := range s.actors {
		if !a.over() {
			a.kill()
		}
	}
	for _, a := range s.actors {
		<-a.ended
	}
	s.collect(judge)
}

// collect calls judge for each actor that has ended, and removes it.
func (s *soak) collect(judge func(*actor)) {
	s.actors = slices.DeleteFunc(s.actors, func(a *actor) bool {
		if a.over() {
			judge(a)
		}
		return a.over()
	})
}

// wait waits for an actor to end, and removes it without calling judge.
func (s *soak) wait(a *actor) {
	s.actors = slices.DeleteFunc(s.actors, func(other *actor) bool { return other == a })
	select {
	case <-a.ended:
	case <-time.After(time.Minute):
		a.kill()
		<-a.ended
		s.fault("actor did not end within a minute: %v", a)
	}
}

// moment sleeps for a random time while the actors run. No check depends on how long.
func (s *soak) moment() {
	const longest = 60 * time.Millisecond
	command.Pause(s.t.Context(), time.Duration(s.rng.Int64N(int64(longest))))
}

// until waits for a condition for at most a second. It reports whether the condition holds.
func (s *soak) until(holds func() bool) bool {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); command.Pause(s.t.Context(), lookAgain) {
		if holds() {
			return true
		}
	}
	return holds()
}

// says waits until an actor prints the line what on standard error, and reports whether it did. If not,
// it records a fault of the soak.
func (s *soak) says(a *actor, what string) bool {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); command.Pause(s.t.Context(), lookAgain) {
		ended := a.over()
		if bytes.Contains(a.said.bytes(), []byte(what+"\n")) {
			return true
		}
		if ended {
			break
		}
		a.signal(unix.SIGCONT) // the actor may have stopped itself
	}
	s.fault("actor did not print %q: %v", what, a)
	return false
}

// holder matches the process that an actor's "busy" error names as the holder.
var holder = regexp.MustCompile(`by process ([0-9]+)`)

// refusedByItself reports whether an actor was refused because of its own claim.
func (a *actor) refusedByItself() bool {
	m := holder.FindSubmatch(a.said.bytes())
	return m != nil && string(m[1]) == strconv.Itoa(a.cmd.Process.Pid)
}
