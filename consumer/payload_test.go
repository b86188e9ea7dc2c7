package consumer_test

import (
	"fmt"
	"testing"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// Records are read as they were produced, byte for byte: for each way of producing and of reading,
// for lengths around every boundary, and for three laps of the ring, so that records wrap around.
func TestPayload(t *testing.T) {
	for _, op := range []producer.Op{producer.Reserve, producer.Output, producer.Dynptr} {
		for i, size := range []uint32{0, 1, 7, 8, 9, 4095, 4096, 65536} {
			for j, way := range ways {
				if testing.Short() && (int(op)+i)%len(ways) != j {
					continue // not all triples of op, way and size are tested: every pair is enough
				}
				t.Run(fmt.Sprintf("%s %d bytes read by %s", op, size, way.name), func(t *testing.T) {
					testenv.NoLeaks(t)
					ringSize := uint64(testenv.PageSize)
					for ringSize < ring.Span(size)+8 {
						ringSize *= 2
					}
					m := testenv.Ring(t, uint32(ringSize))
					p, r := load(t, m), reader(t, m, consumer.Options{})

					// Each run produces as many records as fit.
					job := producer.Job{Op: op, Size: size, Count: (ringSize - 8) / ring.Span(size)}
					wrapped := 0
					for job.Seq*ring.Span(size) < 3*ringSize {
						res := run(t, p, job)
						next := job.Seq
						err := way.take(t.Context(), r, int(job.Count), func(rec consumer.Record) {
							if len(rec.Data) != int(size) {
								t.Fatalf("record %d has %d bytes", next, len(rec.Data))
							}
							if err := producer.Verify(next, rec.Data); err != nil {
								t.Fatal(err)
							}
							if want := next * ring.Span(size); rec.Pos != want {
								t.Fatalf("record %d is at position %d, want %d", next, rec.Pos, want)
							}
							if rec.Pos%ringSize+ring.Span(size) > ringSize {
								wrapped++
							}
							next++
						})
						if err != nil {
							t.Fatal(err)
						}
						if next != res.Next {
							t.Fatalf("read up to record %d, want %d", next, res.Next)
						}
						settle(t, r)
						job.Seq = res.Next
					}
					if wrapped == 0 && ringSize%ring.Span(size) != 0 {
						t.Error("no record wrapped around the ring's end")
					}
				})
			}
		}
	}
}

func TestRandomLengths(t *testing.T) {
	for _, op := range []producer.Op{producer.Output, producer.Dynptr} {
		for _, way := range ways {
			t.Run(fmt.Sprintf("%s read by %s", op, way.name), func(t *testing.T) {
				testenv.NoLeaks(t)
				m := testenv.Ring(t, 64<<10)
				p, r := load(t, m), reader(t, m, consumer.Options{})
				job := producer.Job{Op: op, MaxSize: 3000, Count: 20}
				for range long(200, 20) {
					run(t, p, job)
					next := job.Seq
					err := way.take(t.Context(), r, int(job.Count), func(rec consumer.Record) {
						if got, want := uint32(len(rec.Data)), job.Len(next); got != want {
							t.Fatalf("record %d has %d bytes, want %d", next, got, want)
						}
						if err := producer.Verify(next, rec.Data); err != nil {
							t.Fatal(err)
						}
						next++
					})
					if err != nil {
						t.Fatal(err)
					}
					settle(t, r)
					job.Seq = next
				}
			})
		}
	}
}

func TestDiscardedRecordsNeverAppear(t *testing.T) {
	for _, op := range []producer.Op{producer.Reserve, producer.Dynptr} {
		for _, way := range ways {
			for _, every := range []uint64{2, 5} {
				t.Run(fmt.Sprintf("%s every %d read by %s", op, every, way.name), func(t *testing.T) {
					testenv.NoLeaks(t)
					m := testenv.Ring(t, testenv.PageSize)
					p, r := load(t, m), reader(t, m, consumer.Options{})
					job := producer.Job{Op: op, Size: 40, Count: 60, DiscardEvery: every}
					var want consumer.Stats
					for range 5 {
						res := run(t, p, job)
						next := job.Seq
						err := way.take(t.Context(), r, int(res.Submitted), func(rec consumer.Record) {
							for job.Discarded(next) {
								next++
							}
							if err := producer.Verify(next, rec.Data); err != nil {
								t.Fatal(err)
							}
							next++
						})
						if err != nil {
							t.Fatal(err)
						}
						settle(t, r) // also skips a discarded record at the end
						job.Seq = res.Next
						want.Records += res.Submitted
						want.Bytes += res.Bytes
						want.Discarded += res.Discarded
					}
					want.ConsumerPos = job.Seq * ring.Span(job.Size)
					want.ProducerPos = want.ConsumerPos
					if got := stats(t, r); got != want {
						t.Errorf("Stats are %+v, want %+v", got, want)
					}
				})
			}
		}
	}
}
