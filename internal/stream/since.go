package stream

import (
	"iter"
	"time"

	"github.com/rbtool/rbtool/consumer"
)

// Since is a Source without the records of another Source that are older than a time. Records without a time stay.
type Since struct {
	Source
	times *Times
	from  int64
	timed interface{ Time() time.Time } // the other Source if it knows when its records were read, or nil
	older uint64
}

// NewSince returns a Source of the records of src since the time from.
func NewSince(src Source, times *Times, from time.Time) *Since {
	s := &Since{Source: src, times: times, from: from.UnixNano()}
	s.timed, _ = src.(interface{ Time() time.Time })
	return s
}

// Older returns the number of records that were left out.
func (s *Since) Older() uint64 { return s.older }

// Time returns when the current record of a pass was read.
func (s *Since) Time() time.Time {
	if s.timed != nil {
		return s.timed.Time()
	}
	return time.Now()
}

// Pass implements [Source].
func (s *Since) Pass(limit int) iter.Seq[consumer.Record] {
	return func(yield func(consumer.Record) bool) {
		for rec := range s.Source.Pass(limit) {
			if wall, ok := s.times.Wall(rec); ok && wall < s.from {
				s.older++
				continue
			}
			if !yield(rec) {
				return
			}
		}
	}
}
