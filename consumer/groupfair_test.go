package consumer_test

import (
	"testing"
	"time"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// flooded returns a Group of two rings. The first ring is flooded. The second ring has had no
// record yet, so the Group must notice its first record while it reads the first ring.
func flooded(t *testing.T, opts consumer.Options, quietJob producer.Job) (g *consumer.Group, flood func(), quiet *producer.Pinger) {
	t.Helper()
	maps := rings(t, 2)
	p := load(t, maps[0])
	job := producer.Job{Op: producer.Output, Size: 16, Count: 50}
	flood = func() {
		res, err := p.Run(t.Context(), job)
		if err != nil {
			t.Error(err)
		}
		job.Seq = res.Next
	}
	quiet = pinger(t, load(t, maps[1]), quietJob)
	g = group(t, opts, maps...)
	started := make(chan struct{})
	go func() {
		defer close(started)
		asleep(t) // both rings are empty
		flood()
	}()
	if err := g.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-started
	return g, flood, quiet
}

// Between the commit of a record of the quiet ring and the turn of that ring, the Group reads from
// the flooded ring at most the rest of one share and another share.
func TestFloodDoesNotStarve(t *testing.T) {
	const share = 20
	tests := []struct {
		rule string
		wait bool // the Group waits between passes
	}{
		{"waiting between passes", true},
		{"pass after pass", false},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			g, flood, quiet := flooded(t, consumer.Options{Timer: -1}, producer.Job{Op: producer.Output, Size: 16})
			pinged, since, turns := 0, 0, 0
			for seen := 0; seen < long(200, 20); {
				if tt.wait {
					if err := g.Wait(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				for rec := range g.Pass(share) {
					switch turns++; {
					case rec.Ring == 1:
						seen++
						since = 0
					case pinged == seen && turns%97 == 0:
						ping(t, quiet)
						pinged++
					case pinged > seen:
						since++
					}
					if since > 2*share {
						t.Fatalf("%d records of a flooded ring before one of a quiet ring", since)
					}
				}
				if g.Err() != nil {
					t.Fatal(g.Err())
				}
				flood() // the flooded ring never runs empty
			}
		})
	}
}

// The Group also finds a record that the quiet ring gets without a wakeup.
func TestFloodDoesNotHideWhatNobodyAnnounces(t *testing.T) {
	testenv.NoLeaks(t)
	g, flood, quiet := flooded(t, consumer.Options{Timer: time.Millisecond},
		producer.Job{Op: producer.Output, Size: 16, Wakeup: producer.NoWakeup})
	groupSeqs(t, g, 20)
	ping(t, quiet)
	for deadline := time.Now().Add(patience); ; flood() {
		if err := g.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := groupSeqs(t, g, 20); len(got[1]) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it never comes while the other ring has records")
		}
	}
}
