package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/rbtool/rbtool/consumer"
	dropin "github.com/rbtool/rbtool/consumer/ringbuf"
)

// reader reads the next n records of its ring.
type reader interface {
	read(n uint64, t *tally) error
	close() error
}

// openReader opens m with the reader that way names.
func openReader(m *ebpf.Map, way string) (reader, error) {
	switch way {
	case "cilium":
		r, err := ringbuf.NewReader(m)
		if err != nil {
			return nil, err
		}
		return &ciliumReader{r: r}, nil
	case "dropin":
		r, err := dropin.NewReader(m)
		if err != nil {
			return nil, err
		}
		return &dropinReader{r: r}, nil
	}
	r, err := consumer.NewReader(m, consumer.Options{})
	if err != nil {
		return nil, err
	}
	switch way {
	case "pass":
		return passReader{r}, nil
	case "records":
		return recordsReader{r}, nil
	case "read":
		return copyReader{r}, nil
	case "readinto":
		return &intoReader{r: r}, nil
	}
	return nil, errors.Join(fmt.Errorf("unknown reader %q", way), r.Close())
}

type ciliumReader struct {
	r   *ringbuf.Reader
	rec ringbuf.Record
}

func (c *ciliumReader) close() error { return c.r.Close() }

func (c *ciliumReader) read(n uint64, t *tally) error {
	sum := uint64(0)
	for range n {
		if err := c.r.ReadInto(&c.rec); err != nil {
			return err
		}
		sum += mark(c.rec.RawSample)
	}
	t.add(n, sum)
	return nil
}

type dropinReader struct {
	r   *dropin.Reader
	rec dropin.Record
}

func (d *dropinReader) close() error { return d.r.Close() }

func (d *dropinReader) read(n uint64, t *tally) error {
	sum := uint64(0)
	for range n {
		if err := d.r.ReadInto(&d.rec); err != nil {
			return err
		}
		sum += mark(d.rec.RawSample)
	}
	t.add(n, sum)
	return nil
}

type passReader struct{ r *consumer.Reader }

func (p passReader) close() error { return p.r.Close() }

func (p passReader) read(_ uint64, t *tally) error {
	got, sum := uint64(0), uint64(0)
	for rec := range p.r.Pass(0) {
		got++
		sum += mark(rec.Data)
	}
	t.add(got, sum)
	return p.r.Err()
}

type recordsReader struct{ r *consumer.Reader }

// close makes another pass, which consumes the record at which read left the loop.
func (p recordsReader) close() error {
	for range p.r.Pass(0) {
	}
	return errors.Join(p.r.Err(), p.r.Close())
}

func (p recordsReader) read(n uint64, t *tally) error {
	got, sum := uint64(0), uint64(0)
	for rec, err := range p.r.Records(context.Background()) {
		if err != nil {
			return err
		}
		got++
		sum += mark(rec.Data)
		if got == n {
			break
		}
	}
	t.add(got, sum)
	return nil
}

type copyReader struct{ r *consumer.Reader }

func (p copyReader) close() error { return p.r.Close() }

func (p copyReader) read(n uint64, t *tally) error {
	sum := uint64(0)
	for range n {
		rec, err := p.r.Read(context.Background())
		if err != nil {
			return err
		}
		sum += mark(rec.Data)
	}
	t.add(n, sum)
	return nil
}

type intoReader struct {
	r   *consumer.Reader
	rec consumer.Record
}

func (p *intoReader) close() error { return p.r.Close() }

func (p *intoReader) read(n uint64, t *tally) error {
	sum := uint64(0)
	for range n {
		if err := p.r.ReadInto(context.Background(), &p.rec); err != nil {
			return err
		}
		sum += mark(p.rec.Data)
	}
	t.add(n, sum)
	return nil
}
